//! Which tokens are near to one: found by comparing it with all of them, and kept, since queries share most of theirs.

use crate::table::Table;
use crate::vectors::dots;
use crate::wordpiece::Token;
use lru::LruCache;
use std::num::NonZeroUsize;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// Tokens that are less alike than this have nothing in common: with 128 dimensions, any two are somewhat alike.
const FLOOR: f32 = 0.4;
/// Lists that are kept, of some 750 bytes each.
const MOST_LISTS: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");
/// Rows that are compared with one token after the other while they are in the processor's nearest cache.
const BLOCK: usize = 128;

/// The tokens that are nearer to one than [`FLOOR`], itself among them, and how near: from 0 at the floor to 255.
#[derive(Debug, Default)]
pub(crate) struct Near {
    tokens: Vec<Token>,
    nearness: Vec<u8>,
}

impl Near {
    pub(crate) const fn len(&self) -> usize {
        self.tokens.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Token, u8)> {
        self.tokens.iter().copied().zip(self.nearness.iter().copied())
    }
}

/// The list of each token, in the given order.
pub(crate) fn lists(table: &Table, tokens: impl Iterator<Item = Token>) -> Vec<Arc<Near>> {
    static KEPT: LazyLock<Mutex<LruCache<Token, Arc<Near>>>> =
        LazyLock::new(|| Mutex::new(LruCache::new(MOST_LISTS)));
    let kept = || KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let tokens: Vec<Token> = tokens.collect();
    let mut lists: Vec<Option<Arc<Near>>> = {
        let mut kept = kept();
        tokens.iter().map(|token| kept.get(token).cloned()).collect()
    };
    let missing: Vec<Token> =
        tokens.iter().zip(&lists).filter(|(_, list)| list.is_none()).map(|(token, _)| *token).collect();
    if !missing.is_empty() {
        // Compared outside the lock: two searches that miss the same token both do it, and neither waits.
        let mut found = compare(table, &missing).into_iter().map(Arc::new);
        let mut kept = kept();
        for (token, list) in tokens.iter().zip(&mut lists).filter(|(_, list)| list.is_none()) {
            *list = found.next().inspect(|found| drop(kept.put(*token, found.clone())));
        }
    }
    lists.into_iter().map(Option::unwrap_or_default).collect()
}

fn compare(table: &Table, tokens: &[Token]) -> Vec<Near> {
    let mut lists: Vec<Near> = tokens.iter().map(|_| Near::default()).collect();
    let mut products = [0.0; BLOCK];
    for (block, rows) in table.rows().chunks(BLOCK).enumerate() {
        let norms = &table.inverse_norms()[block * BLOCK..];
        for (list, &token) in lists.iter_mut().zip(tokens) {
            let Some((vector, own)) = table.row(token) else { continue };
            let products = &mut products[..rows.len()];
            dots(vector, rows.as_flattened(), products);
            for (at, (product, norm)) in products.iter().zip(norms).enumerate() {
                let cosine = product * (norm * own);
                if cosine > FLOOR {
                    // A table has no more rows than a token has numbers.
                    list.tokens.push(Token::try_from(block * BLOCK + at).unwrap_or(Token::MAX));
                    list.nearness.push(nearness(cosine));
                }
            }
        }
    }
    for list in &mut lists {
        list.tokens.shrink_to_fit();
        list.nearness.shrink_to_fit();
    }
    lists
}

/// What a cosine above the floor counts.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is held between 0 and 255")]
fn nearness(cosine: f32) -> u8 {
    ((cosine - FLOOR) / (1.0 - FLOOR) * f32::from(u8::MAX)).round().clamp(0.0, 255.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::cosine;
    use crate::wordpiece::token_ids;

    #[test]
    fn a_list_holds_what_is_near_and_nothing_else() {
        let table = Table::built_in();
        let token = token_ids("physician")[0];
        // Once compared, once kept; beside one that is new.
        for others in ["doctor", "banana"] {
            let both = lists(table, [token_ids(others)[0], token].into_iter());
            let mut near = both[1].iter();
            let mut next = near.next();
            for (other, row) in (0..).zip(table.rows()) {
                let cosine = cosine(&table.rows()[usize::from(token)], row);
                if let Some((_, found)) = next.filter(|(at, _)| *at == other) {
                    assert!(found.abs_diff(nearness(cosine)) <= 1 && cosine > FLOOR - 1e-5, "{other}");
                    next = near.next();
                } else {
                    assert!(cosine < FLOOR + 1e-5, "{other} is missing");
                }
            }
            assert_eq!(next, None);
        }
    }

    #[test]
    fn a_token_that_is_none_is_near_to_nothing() {
        let lists = lists(Table::built_in(), [Token::MAX].into_iter());
        assert_eq!(lists[0].iter().count(), 0);
    }
}
