//! The close look: how well each token of a query is met by the token of a text that is nearest to it. Late
//! interaction in the manner of ColBERT (Khattab, Zaharia 2020) over static vectors, so that it costs a table, not a model.

use crate::near;
use crate::table::Table;
use crate::wordpiece::Token;

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
    let nearness = Nearness::new(query);
    texts
        .map(|tokens| {
            let lanes = query.chunks(LANES).zip(0..);
            lanes.map(|(query, lane)| nearness.met(query, lane, tokens)).sum()
        })
        .collect()
}

/// How near tokens are to each token of the query.
struct Nearness {
    /// Lanes of a row.
    width: usize,
    /// Which row a token has; 0 for those that are near to nothing of the query, as most are.
    rows: Vec<u16>,
    /// The rows, one after the other. That of nothing is the first.
    values: Vec<Lanes>,
}

impl Nearness {
    fn new(query: &[Weighted]) -> Self {
        let table = Table::built_in();
        let lists = near::lists(table, query.iter().map(|&(token, _)| token));
        let width = query.len().div_ceil(LANES);
        let mut rows = vec![0u16; table.len()];
        let mut values = Vec::with_capacity((1 + lists.iter().map(|list| list.len()).sum::<usize>()) * width);
        values.resize(width, Lanes::default());
        for (lane, near) in lists.iter().enumerate() {
            for (token, near) in near.iter() {
                let row = &mut rows[usize::from(token)];
                if *row == 0 {
                    // There are no more rows than tokens, whose numbers have 16 bits.
                    *row = u16::try_from(values.len() / width).unwrap_or(0);
                    values.resize(values.len() + width, Lanes::default());
                }
                values[usize::from(*row) * width + lane / LANES][lane % LANES] = near;
            }
        }
        Self { width, rows, values }
    }

    /// How well a text meets some tokens of the query, which have this lane.
    fn met(&self, query: &[Weighted], lane: usize, text: &[Token]) -> f32 {
        let mut best = Lanes::default();
        for token in text {
            let row = self.rows.get(usize::from(*token)).copied().unwrap_or(0);
            let met = &self.values[usize::from(row) * self.width + lane];
            for (best, met) in best.iter_mut().zip(met) {
                *best = (*best).max(*met);
            }
        }
        let sum: f32 = query.iter().zip(best).map(|(&(_, weight), met)| weight * f32::from(met)).sum();
        sum / f32::from(u8::MAX)
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
