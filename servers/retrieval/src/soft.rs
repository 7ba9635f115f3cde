//! The close look: how well each token of a query is met by the token of a text that is nearest to it. Late
//! interaction in the manner of ColBERT (Khattab, Zaharia 2020) over static vectors, so that it costs a table, not a model.

use crate::near::{self, Near};
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
    /// Which row a token has; 0 for those that are near to nothing of the query, as most are.
    rows: Vec<u16>,
    /// The rows, one after the other. That of nothing is the first.
    values: Vec<Lanes>,
}

impl Nearness {
    fn new<'a>(query: &[Weighted], texts: impl Iterator<Item = &'a [Token]>) -> Self {
        let table = Table::built_in();
        let present = Present::of(table, texts);
        let width = query.len().div_ceil(LANES);
        let mut rows = vec![0u16; table.len()];
        let mut values = vec![Lanes::default(); width];
        let mut note = |lane: usize, near: &Near| {
            for (token, near) in near.iter().filter(|(token, _)| present.has(*token)) {
                let row = &mut rows[usize::from(token)];
                if *row == 0 {
                    // There are no more rows than tokens, whose numbers have 16 bits.
                    *row = u16::try_from(values.len() / width).unwrap_or(0);
                    values.resize(values.len() + width, Lanes::default());
                }
                values[usize::from(*row) * width + lane / LANES][lane % LANES] = near;
            }
        };
        let tokens: Vec<Token> = query.iter().map(|&(token, _)| token).collect();
        let mut unlisted = Vec::new();
        for (lane, list) in near::lists(table, &tokens).into_iter().enumerate() {
            match list {
                Some(list) => note(lane, &list),
                None => unlisted.push((lane, tokens[lane])),
            }
        }
        if !unlisted.is_empty() {
            let wanted: Vec<Token> = unlisted.iter().map(|&(_, token)| token).collect();
            let found = near::among(table, &wanted, &present.tokens);
            unlisted.iter().zip(&found).for_each(|(&(lane, _), near)| note(lane, near));
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

/// The tokens that stand in some texts.
struct Present {
    /// For each that the table has, whether it is among them. No bits: those of one word would wait for each other.
    has: Vec<bool>,
    /// Each once.
    tokens: Vec<Token>,
}

impl Present {
    fn of<'a>(table: &Table, texts: impl Iterator<Item = &'a [Token]>) -> Self {
        let mut has = vec![false; table.len()];
        // One more than there can be, so that any may be written before it is known whether it is new.
        let mut tokens = vec![0; table.len() + 1];
        let mut count = 0;
        for text in texts {
            for token in text {
                if let Some(has) = has.get_mut(usize::from(*token)) {
                    tokens[count] = *token;
                    count += usize::from(!std::mem::replace(has, true));
                }
            }
        }
        tokens.truncate(count);
        Self { has, tokens }
    }

    fn has(&self, token: Token) -> bool {
        self.has[usize::from(token)]
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
