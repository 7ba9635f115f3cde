//! The close look: how well each token of a query is met by the token of a text that is nearest to it. Late
//! interaction in the manner of ColBERT (Khattab, Zaharia 2020) over static vectors, so that it costs a table, not a model.

use crate::near::{self, FLOOR};
use crate::table::Table;
use crate::wordpiece::Token;

/// Tokens of a query that are looked at.
pub(crate) const MOST_TOKENS: usize = 64;

/// A token of a query and what it counts; the weights of a query sum to one.
pub(crate) type Weighted = (Token, f32);

/// Tokens of a query that are looked up together.
const LANES: usize = 8;

/// The score of each text, from 0 (nothing of the query is met) to 1 (each of its tokens stands there).
pub(crate) fn scores<'a>(query: &[Weighted], texts: impl Iterator<Item = &'a [Token]>) -> Vec<f32> {
    let nearness = Nearness::new(query);
    let mut nearest = vec![[0.0f32; LANES]; nearness.width];
    texts
        .map(|tokens| {
            nearest.fill([0.0; LANES]);
            for &token in tokens {
                for (nearest, nearness) in nearest.iter_mut().zip(nearness.to(token)) {
                    for (nearest, nearness) in nearest.iter_mut().zip(nearness) {
                        // Not f32::max, which minds what is no number.
                        *nearest = if *nearness > *nearest { *nearness } else { *nearest };
                    }
                }
            }
            let met = |nearest: f32| (nearest - FLOOR).max(0.0) / (1.0 - FLOOR);
            query.iter().zip(nearest.as_flattened()).map(|(&(_, weight), &near)| weight * met(near)).sum()
        })
        .collect()
}

/// How near tokens are to each token of the query.
struct Nearness {
    /// Lanes of a row.
    width: usize,
    /// Which row a token has; 0 for those that are near to nothing of the query, as most are.
    rows: Vec<u16>,
    /// A row for each of the others, one after the other, from row 1 on.
    values: Vec<[f32; LANES]>,
}

impl Nearness {
    fn new(query: &[Weighted]) -> Self {
        let table = Table::built_in();
        let width = query.len().div_ceil(LANES);
        let mut rows = vec![0u16; table.len()];
        let mut values = vec![[0.0; LANES]; width];
        for (lane, near) in near::lists(table, query.iter().map(|&(token, _)| token)).iter().enumerate() {
            for (token, near) in near.iter() {
                let row = &mut rows[usize::from(token)];
                if *row == 0 {
                    // There are no more rows than tokens, whose numbers have 16 bits.
                    *row = u16::try_from(values.len() / width).unwrap_or(0);
                    values.resize(values.len() + width, [0.0; LANES]);
                }
                values[usize::from(*row) * width + lane / LANES][lane % LANES] = near;
            }
        }
        Self { width, rows, values }
    }

    fn to(&self, token: Token) -> &[[f32; LANES]] {
        match self.rows.get(usize::from(token)) {
            None | Some(0) => &[],
            Some(&row) => &self.values[usize::from(row) * self.width..][..self.width],
        }
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
