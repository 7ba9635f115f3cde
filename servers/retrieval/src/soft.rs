//! The close look: how well each token of a query is met by the token of a text that is nearest to it. Late
//! interaction in the manner of ColBERT (Khattab, Zaharia 2020) over static vectors, so that it costs a table, not a model.

use crate::near::{self, Near};
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
pub(crate) fn scores<'a>(query: &[Weighted], texts: impl Iterator<Item = &'a [Token]> + Clone) -> Vec<f32> {
    let nearness = Nearness::new(query, texts.clone());
    texts
        .map(|tokens| {
            let lanes = query.chunks(LANES).zip(0..);
            lanes.map(|(query, lane)| nearness.met(query, lane, tokens)).sum()
        })
        .collect()
}

/// How near the tokens of some texts are to each token of the query.
struct Nearness {
    /// Lanes of a row.
    width: usize,
    /// Which row a token has.
    present: Present,
    /// The rows, one after the other. The first are those of [`ABSENT`] and [`FAR`].
    values: Vec<Lanes>,
}

impl Nearness {
    fn new<'a>(query: &[Weighted], texts: impl Iterator<Item = &'a [Token]>) -> Self {
        let table = Table::built_in();
        let mut present = Present::of(table, texts);
        let width = query.len().div_ceil(LANES);
        let mut values = vec![Lanes::default(); width * usize::from(FAR + 1)];
        let mut note = |lane: usize, near: &Near, rows: &mut [u16]| {
            for (token, near) in near.iter() {
                let row = &mut rows[usize::from(token)];
                if *row == ABSENT {
                    continue;
                }
                if *row == FAR {
                    // There are no more rows than tokens, whose numbers have 16 bits.
                    *row = u16::try_from(values.len() / width).unwrap_or(FAR);
                    values.resize(values.len() + width, Lanes::default());
                }
                values[usize::from(*row) * width + lane / LANES][lane % LANES] = near;
            }
        };
        let tokens: Vec<Token> = query.iter().map(|&(token, _)| token).collect();
        let mut unlisted = Vec::new();
        for (lane, list) in near::lists(table, &tokens).into_iter().enumerate() {
            match list {
                Some(list) => note(lane, &list, &mut present.notes.rows),
                None => unlisted.push((lane, tokens[lane])),
            }
        }
        if !unlisted.is_empty() {
            let wanted: Vec<Token> = unlisted.iter().map(|&(_, token)| token).collect();
            let found = near::among(table, &wanted, present.tokens());
            for (&(lane, _), near) in unlisted.iter().zip(&found) {
                note(lane, near, &mut present.notes.rows);
            }
        }
        Self { width, present, values }
    }

    /// How well a text meets some tokens of the query, which have this lane.
    fn met(&self, query: &[Weighted], lane: usize, text: &[Token]) -> f32 {
        let mut best = Lanes::default();
        for token in text {
            let row = self.present.notes.rows.get(usize::from(*token)).copied().unwrap_or(ABSENT);
            let met = &self.values[usize::from(row) * self.width + lane];
            for (best, met) in best.iter_mut().zip(met) {
                *best = (*best).max(*met);
            }
        }
        let sum: f32 = query.iter().zip(best).map(|(&(_, weight), met)| weight * f32::from(met)).sum();
        sum / f32::from(u8::MAX)
    }
}

/// The row of a token that stands in no text.
const ABSENT: u16 = 0;
/// That of one that is near to nothing of the query, as most are.
const FAR: u16 = 1;

/// What is noted of tokens.
#[derive(Default)]
struct Notes {
    /// For each that the table has, its row.
    rows: Vec<u16>,
    /// Room for all that are present.
    tokens: Vec<Token>,
}

thread_local! {
    /// Those of the last look of this thread, with all tokens absent. To make them anew would be a twentieth of a search, for that
    /// also pushes what the search needs out of the processor's caches.
    static LEFT: Cell<Notes> = Cell::default();
}

/// The tokens that stand in some texts.
struct Present {
    notes: Notes,
    count: usize,
}

impl Present {
    fn of<'a>(table: &Table, texts: impl Iterator<Item = &'a [Token]>) -> Self {
        let Notes { mut rows, mut tokens } = LEFT.take();
        rows.resize(table.len(), ABSENT);
        // One more than there can be, so that any may be written before it is known whether it is new.
        tokens.resize(table.len() + 1, 0);
        let mut count = 0;
        for text in texts {
            for token in text {
                if let Some(row) = rows.get_mut(usize::from(*token)) {
                    tokens[count] = *token;
                    count += usize::from(std::mem::replace(row, FAR) == ABSENT);
                }
            }
        }
        Self { notes: Notes { rows, tokens }, count }
    }

    /// Each once.
    fn tokens(&self) -> &[Token] {
        &self.notes.tokens[..self.count]
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let Notes { mut rows, tokens } = take(&mut self.notes);
        for token in &tokens[..self.count] {
            rows[usize::from(*token)] = ABSENT;
        }
        LEFT.set(Notes { rows, tokens });
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
    fn nothing_meets_nothing() {
        assert!(score("car", "") <= 0.0);
        assert!(scores(&[], [[5u16].as_slice()].into_iter())[0] <= 0.0);
    }
}
