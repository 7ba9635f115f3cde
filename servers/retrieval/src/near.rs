//! Which tokens are near to one, found beforehand: to compare a query's tokens with others would be a third of what a search takes.
//!
//! Two tokens with a cosine of 0.4 or less have nothing in common: with 128 dimensions, any two are somewhat alike. What is above is
//! rounded to one of 15 levels, or to nothing; of the tokens that are left, the nearest 255 are listed. Neither finer levels nor
//! longer lists were measured to find more.
//!
//! `data/near.bin` holds, for each token of the table in order: where its list begins (four bytes, little-endian; and, once more,
//! where the last one ends), how many there are of each level, from the nearest (one byte each), and then all lists, the nearest
//! first (two bytes a token). Only tokens of the query are looked up, so that hardly any of it is read into memory.

use crate::wordpiece::Token;

/// What a level of nearness counts more than the next.
const STEP: u8 = 17;
/// Levels; the nearest counts 255.
const LEVELS: usize = (u8::MAX / STEP) as usize;

/// The tokens that are near to one, itself among them, by level.
#[derive(Clone, Copy)]
pub(crate) struct Near {
    counts: &'static [u8; LEVELS],
    tokens: &'static [[u8; 2]],
}

impl Near {
    /// Those of a token; `None` where it is not of the table.
    pub(crate) fn of(token: Token) -> Option<Self> {
        // A test reads all of it: a broken file cannot be shipped.
        Self::read(include_bytes!("../data/near.bin"), usize::from(token))
    }

    fn read(file: &'static [u8], token: usize) -> Option<Self> {
        let (first, _) = file.split_first_chunk()?;
        // The first list begins behind all else.
        let head = u32::from_le_bytes(*first) as usize;
        let count = head.saturating_sub(size_of::<u32>()) / (size_of::<u32>() + LEVELS);
        let (begins, counts) = file.get(..head)?.split_at_checked((count + 1) * size_of::<u32>())?;
        let begin = |token: usize| Some(u32::from_le_bytes(*begins.as_chunks().0.get(token)?) as usize);
        let counts = counts.as_chunks().0.get(token)?;
        Some(Self { counts, tokens: file.get(begin(token)?..begin(token + 1)?)?.as_chunks().0 })
    }

    /// Each of them and how near it is: up to 255.
    pub(crate) fn iter(self) -> impl Iterator<Item = (Token, u8)> {
        let mut rest = self.tokens;
        let levels = self.counts.iter().zip((0..).map(|level| u8::MAX - level * STEP));
        levels.flat_map(move |(count, nearness)| {
            let (level, farther) = rest.split_at(usize::from(*count).min(rest.len()));
            rest = farther;
            level.iter().map(move |token| (Token::from_le_bytes(*token), nearness))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Table;
    use crate::vectors::{dots, inverse_norm};
    use crate::wordpiece::token_ids;
    use std::path::Path;

    const FLOOR: f32 = 0.4;
    /// The most in a list: as many as one level may count. A tenth of all tokens, most of which are no words, would have more.
    const MOST: usize = u8::MAX as usize;

    /// How near a cosine is; 0 for one that is not.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is held between 0 and the levels"
    )]
    fn level(cosine: f32) -> usize {
        let levels = f32::from(u8::MAX / STEP);
        ((cosine - FLOOR) / (1.0 - FLOOR) * levels).round().clamp(0.0, levels) as usize
    }

    /// What the file holds for a table.
    fn file(table: &Table) -> Vec<u8> {
        let rows = table.rows();
        let norms: Vec<f32> = rows.iter().map(|row| inverse_norm(row)).collect();
        let (mut begins, mut counts, mut lists) = (Vec::new(), Vec::new(), Vec::new());
        let head = (rows.len() + 1) * size_of::<u32>() + rows.len() * LEVELS;
        let mut begin =
            |lists: &[u8]| begins.extend(u32::try_from(head + lists.len()).expect("small").to_le_bytes());
        let mut products = vec![0.0; rows.len()];
        for (row, own) in rows.iter().zip(&norms) {
            begin(&lists);
            dots(row, rows.as_flattened(), &mut products);
            let cosines = products.iter().zip(&norms).map(|(product, norm)| product * own * norm);
            let mut near: Vec<(f32, Token)> =
                cosines.zip(0..).filter(|(cosine, _)| *cosine > FLOOR && level(*cosine) > 0).collect();
            near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            near.truncate(MOST);
            near.sort_by_key(|(cosine, token)| (LEVELS - level(*cosine), *token));
            let of = |wanted| near.iter().filter(|(cosine, _)| level(*cosine) == wanted).count();
            counts.extend(
                (1..=LEVELS).rev().map(|level| u8::try_from(of(level)).expect("no more than the most")),
            );
            lists.extend(near.iter().flat_map(|(_, token)| token.to_le_bytes()));
        }
        begin(&lists);
        [begins, counts, lists].concat()
    }

    #[test]
    fn the_file_is_what_the_table_makes() {
        let made = file(Table::built_in());
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/near.bin");
        if std::env::var_os("MCP_SYSTEM_UPDATE").is_some() {
            std::fs::write(&path, &made).expect("written");
        }
        // Not `assert_eq`, which would print millions of numbers.
        assert!(std::fs::read(path).expect("there") == made, "`just near` makes it anew");
    }

    #[test]
    fn every_token_is_nearest_to_itself() {
        let table = Table::built_in();
        for (token, row) in (0..).zip(table.rows()) {
            let near = Near::of(token).expect("of the table");
            let blank = row.iter().all(|number| *number == 0);
            assert!(blank || near.iter().any(|near| near == (token, u8::MAX)), "{token}");
            assert_eq!(near.iter().count(), near.tokens.len());
        }
    }

    #[test]
    fn what_means_alike_is_nearer_than_what_does_not() {
        let token = |word: &str| token_ids(word)[0];
        let nearness = |a: &str, b: &str| {
            let mut near = Near::of(token(a)).expect("of the table").iter();
            near.find(|(near, _)| *near == token(b)).map_or(0, |(_, nearness)| nearness)
        };
        assert!(nearness("physician", "doctor") > nearness("physician", "nurse"));
        assert_eq!(nearness("physician", "banana"), 0);
    }

    #[test]
    fn a_token_that_is_none_is_near_to_nothing() {
        assert!(Near::of(Token::MAX).is_none());
        for broken in [&[][..], &[0; 4], &[255; 8], &[23, 0, 0, 0, 4, 0, 0, 0]] {
            assert!(Near::read(broken, 0).is_none(), "{broken:?}");
        }
    }
}
