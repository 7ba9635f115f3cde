//! The close look: how well each token of a query is met by the token of a text that is nearest to it. Late
//! interaction in the manner of ColBERT (Khattab, Zaharia 2020) over static vectors, so that it costs a table, not a model.

use crate::near::Near;
use crate::table::Table;
use crate::wordpiece::Token;
use std::cell::Cell;
use std::mem::take;

/// Tokens of a query that are looked at.
pub(crate) const MOST_TOKENS: usize = 64;

/// A token of a query and what it counts; the weights of a query sum to one.
pub(crate) type Weighted = (Token, f32);

/// Tokens of a query that are looked up together.
const LANES: usize = 16;
/// How well each of them is met by some token, from 0 to 255: as many as the processor compares at once.
type Lanes = [u8; LANES];

/// The score of each text, from 0 (nothing of the query is met) to 1 (each of its tokens stands there).
pub(crate) fn scores<'a>(query: &[Weighted], texts: impl Iterator<Item = &'a [Token]>) -> Vec<f32> {
    let nearness = Nearness::of(query);
    texts
        .map(|tokens| {
            let lanes = query.chunks(LANES).zip(0..);
            lanes.map(|(query, lane)| nearness.met(query, lane, tokens)).sum()
        })
        .collect()
}

/// How near each token is to those of the query.
struct Nearness {
    /// Lanes of a row.
    width: usize,
    notes: Notes,
}

/// The row of what is near to nothing of the query, as most tokens are.
const FAR: u16 = 0;

/// Lanes that are kept for the next look. Hardly a query needs as many, and one of 64 tokens sixteen times as many.
const KEPT: usize = 4096;

/// What is noted of tokens.
#[derive(Default)]
struct Notes {
    /// The row of each that the table has.
    rows: Vec<u16>,
    /// Which have another one than [`FAR`].
    near: Vec<Token>,
    /// The rows, one after the other.
    values: Vec<Lanes>,
}

thread_local! {
    /// Those of the last look of this thread, with all tokens far. To make them anew would be a twentieth of a search, for that
    /// also pushes what the search needs out of the processor's caches.
    static LEFT: Cell<Notes> = Cell::default();
}

impl Nearness {
    fn of(query: &[Weighted]) -> Self {
        let mut notes = LEFT.take();
        let width = query.len().div_ceil(LANES);
        notes.rows.resize(Table::built_in().len(), FAR);
        notes.values.resize(width, Lanes::default());
        let mut this = Self { width, notes };
        for (lane, (token, _)) in query.iter().enumerate() {
            for (token, nearness) in Near::of(*token).into_iter().flat_map(Near::iter) {
                this.note(lane, token, nearness);
            }
        }
        this
    }

    fn note(&mut self, lane: usize, token: Token, nearness: u8) {
        let Notes { rows, near, values } = &mut self.notes;
        let Some(row) = rows.get_mut(usize::from(token)) else { return };
        if *row == FAR {
            near.push(token);
            // There are no more rows than tokens, whose numbers have 16 bits.
            *row = u16::try_from(near.len()).unwrap_or(FAR);
            values.resize(values.len() + self.width, Lanes::default());
        }
        values[usize::from(*row) * self.width + lane / LANES][lane % LANES] = nearness;
    }

    /// How well a text meets some tokens of the query, which have this lane.
    fn met(&self, query: &[Weighted], lane: usize, text: &[Token]) -> f32 {
        let mut best = Lanes::default();
        for token in text {
            let row = self.notes.rows.get(usize::from(*token)).copied().unwrap_or(FAR);
            let met = &self.notes.values[usize::from(row) * self.width + lane];
            for (best, met) in best.iter_mut().zip(met) {
                *best = (*best).max(*met);
            }
        }
        let sum: f32 = query.iter().zip(best).map(|(&(_, weight), met)| weight * f32::from(met)).sum();
        sum / f32::from(u8::MAX)
    }
}

impl Drop for Nearness {
    fn drop(&mut self) {
        let mut notes = take(&mut self.notes);
        for token in notes.near.drain(..) {
            notes.rows[usize::from(token)] = FAR;
        }
        notes.values.clear();
        notes.values.shrink_to(KEPT);
        LEFT.set(notes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wordpiece::token_ids;

    fn score(query: &str, text: &str) -> f32 {
        let tokens = token_ids(query);
        #[allow(clippy::cast_precision_loss)]
        let weight = 1.0 / tokens.len() as f32;
        let query: Vec<_> = tokens.into_iter().map(|token| (token, weight)).collect();
        scores(&query, [token_ids(text).as_slice()].into_iter())[0]
    }

    #[test]
    fn a_text_that_holds_the_query_meets_all_of_it() {
        assert!((score("red car", "she drives a red car") - 1.0).abs() < 1e-3);
    }

    #[test]
    fn near_words_meet_in_part_and_others_do_not() {
        let near = score("automobile", "she drives a red car");
        assert!(near > 0.2 && near < 1.0, "{near}");
        assert!(score("automobile", "he boils potatoes") < near / 2.0);
    }

    #[test]
    fn looks_of_one_thread_leave_nothing_to_the_next() {
        let ids: Vec<Token> = (2000..2040).collect();
        let wide: Vec<_> =
            ids.iter().zip(1u8..).map(|(id, weight)| (*id, f32::from(weight) / 820.0)).collect();
        let narrow = score("automobile", "she drives a red car");
        let met = |id: usize| {
            // What is near to it counts as well.
            let alone = |wide: &Weighted| scores(&[(wide.0, wide.1)], [&ids[id..=id]].into_iter())[0];
            (scores(&wide, [&ids[id..=id]].into_iter())[0], wide.iter().map(alone).sum::<f32>())
        };
        for id in [0, 15, 16, 20, 39] {
            let (together, one_by_one) = met(id);
            assert!((together - one_by_one).abs() < 1e-5 && together >= wide[id].1 - 1e-5, "{id}");
        }
        assert!((score("automobile", "she drives a red car") - narrow).abs() < f32::EPSILON);
    }

    #[test]
    fn nothing_meets_nothing() {
        assert!(score("car", "") <= 0.0);
        assert!(scores(&[], [[5u16].as_slice()].into_iter())[0] <= 0.0);
    }
}
