//! The close look: how well each token of a query is met by the token of a text that is nearest to it. Late
//! interaction in the manner of ColBERT (Khattab, Zaharia 2020) over static vectors, so that it costs a table, not a model.

use crate::table::{DIMENSIONS, Table, Vector};
use crate::vectors::dots;
use crate::wordpiece::Token;

/// Tokens of a query that are looked at.
pub(crate) const MOST_TOKENS: usize = 64;
/// Tokens that are less alike than this have nothing in common: with 128 dimensions, any two are somewhat alike.
const FLOOR: f32 = 0.4;

/// A token of a query and what it counts; the weights of a query sum to one.
pub(crate) type Weighted = (Token, f32);

const UNKNOWN: u32 = u32::MAX;
const FAR: u32 = u32::MAX - 1;
/// Numbers that are compared at once.
const LANES: usize = 8;

/// The score of each text, from 0 (nothing of the query is met) to 1 (each of its tokens stands there).
pub(crate) fn scores<'a>(query: &[Weighted], texts: impl Iterator<Item = &'a [Token]>) -> Vec<f32> {
    let table = Table::built_in();
    let mut nearness = Nearness::new(table, query);
    let mut nearest = vec![[0.0f32; LANES]; nearness.width()];
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

/// How near each token that was met is to each token of the query. Texts share most of their tokens, so each is compared
/// once a search.
struct Nearness<'a> {
    table: &'a Table,
    /// The vectors of the query's tokens, one after the other; zeros fill the last lanes.
    query: Vec<[Vector; LANES]>,
    inverse_norms: Vec<[f32; LANES]>,
    /// Where the row of a token begins; [`UNKNOWN`] before it was compared, [`FAR`] where all of the row is below the
    /// floor, as most are.
    begins: Vec<u32>,
    rows: Vec<[f32; LANES]>,
}

impl<'a> Nearness<'a> {
    fn new(table: &'a Table, query: &[Weighted]) -> Self {
        let (mut vectors, mut inverse_norms) = (Vec::new(), Vec::new());
        for tokens in query.chunks(LANES) {
            let mut lanes = ([[0; DIMENSIONS]; LANES], [0.0; LANES]);
            for (lane, (token, _)) in tokens.iter().enumerate() {
                if let Some((vector, inverse_norm)) = table.row(*token) {
                    (lanes.0[lane], lanes.1[lane]) = (*vector, inverse_norm);
                }
            }
            vectors.push(lanes.0);
            inverse_norms.push(lanes.1);
        }
        Self { table, query: vectors, inverse_norms, begins: vec![UNKNOWN; table.len()], rows: Vec::new() }
    }

    /// Lanes of a row.
    const fn width(&self) -> usize {
        self.query.len()
    }

    fn to(&mut self, token: Token) -> &[[f32; LANES]] {
        let Some(&begin) = self.begins.get(usize::from(token)) else { return &[] };
        let begin = if begin == UNKNOWN { self.compare(token) } else { begin };
        if begin == FAR {
            return &[];
        }
        let begin = begin as usize;
        &self.rows[begin..begin + self.width()]
    }

    fn compare(&mut self, token: Token) -> u32 {
        let at = self.rows.len();
        let mut begin = FAR;
        if let Some((vector, inverse_norm)) = self.table.row(token) {
            self.rows.resize(at + self.width(), [0.0; LANES]);
            let nearness = self.rows[at..].as_flattened_mut();
            dots(vector, self.query.as_flattened().as_flattened(), nearness);
            let mut nearest = 0.0f32;
            for (nearness, norm) in nearness.iter_mut().zip(self.inverse_norms.as_flattened()) {
                *nearness *= inverse_norm * norm;
                nearest = if *nearness > nearest { *nearness } else { nearest };
            }
            if nearest > FLOOR {
                begin = u32::try_from(at).unwrap_or(FAR);
            } else {
                self.rows.truncate(at);
            }
        }
        self.begins[usize::from(token)] = begin;
        begin
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
