//! Which tokens are near to one: found by comparing it with all of them, and kept, since queries share most of theirs. One that
//! is asked for now and then is compared with those alone that it is asked about.

use crate::table::{DIMENSIONS, Table, Vector};
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
/// Of which so many are looked at together.
const TOGETHER: usize = 8;
/// Numbers of a vector that are compared first.
const HALF: usize = DIMENSIONS / 2;
/// What two tokens have in common by these at the least that are near to each other. The other half seldom adds as much as lies
/// between this and the floor: of what is near, 5 in 1,000 are missed, most of them hardly above the floor.
const LEAST_GUESS: f32 = FLOOR - 0.2;
/// A list costs as much as so many times those tokens that stand in the texts of a close look.
const WORTH_A_LIST: u8 = 12;

/// The tokens that are nearer to one than [`FLOOR`], itself among them, and how near: from 0 at the floor to 255.
#[derive(Debug, Default)]
pub(crate) struct Near {
    tokens: Vec<Token>,
    nearness: Vec<u8>,
}

impl Near {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Token, u8)> {
        self.tokens.iter().copied().zip(self.nearness.iter().copied())
    }
}

/// Lists that were made, and how often tokens without one were asked for.
struct Kept {
    lists: LruCache<Token, Arc<Near>>,
    asked: LruCache<Token, u8>,
}

/// The list of each token, in the given order; none for a token that is asked for now and then, as most are: [`among`] does for
/// it.
pub(crate) fn lists(table: &Table, tokens: &[Token]) -> Vec<Option<Arc<Near>>> {
    static KEPT: LazyLock<Mutex<Kept>> = LazyLock::new(|| {
        Mutex::new(Kept { lists: LruCache::new(MOST_LISTS), asked: LruCache::new(MOST_LISTS) })
    });
    let kept = || KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let mut missing = Vec::new();
    let mut lists: Vec<Option<Arc<Near>>> = {
        let mut kept = kept();
        let Kept { lists, asked } = &mut *kept;
        let known = |(place, &token): (usize, &Token)| {
            let list = lists.get(&token).cloned();
            if list.is_none() {
                let times = asked.get_or_insert_mut(token, || 0);
                *times += 1;
                if *times == WORTH_A_LIST {
                    asked.pop(&token);
                    missing.push((place, token));
                }
            }
            list
        };
        tokens.iter().enumerate().map(known).collect()
    };
    if !missing.is_empty() {
        // Compared outside the lock: two searches that miss the same token both do it, and neither waits.
        let wanted: Vec<Token> = missing.iter().map(|&(_, token)| token).collect();
        let found = among_all(table, &wanted);
        let mut kept = kept();
        for ((place, token), list) in missing.into_iter().zip(found) {
            let list = Arc::new(list);
            kept.lists.put(token, list.clone());
            lists[place] = Some(list);
        }
    }
    lists
}

/// The lists of some tokens with those of a few others alone, which are of the table.
///
/// Half of each vector, which tells most, is compared first; the other half only where that leaves it open.
pub(crate) fn among(table: &Table, tokens: &[Token], others: &[Token]) -> Vec<Near> {
    let mut lists: Vec<Near> = tokens.iter().map(|_| Near::default()).collect();
    let mut halves = [[0; HALF]; BLOCK];
    let (mut inverse_norms, mut guesses) = ([0.0; BLOCK], [0.0; BLOCK]);
    for others in others.chunks(BLOCK) {
        let places = halves.iter_mut().zip(&mut inverse_norms);
        for ((place, inverse_norm), other) in places.zip(others) {
            *place = half(&table.rows()[usize::from(*other)]);
            *inverse_norm = table.inverse_norms()[usize::from(*other)];
        }
        // What is left of the block before is near to nothing.
        inverse_norms[others.len()..].fill(0.0);
        for (list, &token) in lists.iter_mut().zip(tokens) {
            let Some((vector, own)) = table.row(token) else { continue };
            dots(&half(vector), halves[..others.len()].as_flattened(), &mut guesses);
            let least = LEAST_GUESS / own;
            let few = guesses.as_chunks::<TOGETHER>().0.iter().zip(inverse_norms.as_chunks::<TOGETHER>().0);
            for ((guesses, inverse_norms), others) in few.zip(others.chunks(TOGETHER)) {
                let near = guesses.iter().zip(inverse_norms).map(|(guess, norm)| guess * norm > least);
                // Together, since most have nothing that is near.
                if !near.clone().fold(false, |any, near| any | near) {
                    continue;
                }
                for (&other, _) in others.iter().zip(near).filter(|(_, near)| *near) {
                    let cosine = table.cosine((vector, own), other);
                    if cosine > FLOOR {
                        list.tokens.push(other);
                        list.nearness.push(nearness(cosine));
                    }
                }
            }
        }
    }
    lists
}

fn among_all(table: &Table, tokens: &[Token]) -> Vec<Near> {
    // A table has no more rows than a token has numbers.
    let all: Vec<Token> = (0..=Token::MAX).take(table.len()).collect();
    let mut lists = among(table, tokens, &all);
    for list in &mut lists {
        list.tokens.shrink_to_fit();
        list.nearness.shrink_to_fit();
    }
    lists
}

/// The first half of a vector.
fn half(vector: &Vector) -> [i8; HALF] {
    let mut half = [0; HALF];
    half.copy_from_slice(&vector[..HALF]);
    half
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
        let of = |other: &str| lists(table, &[token_ids(other)[0], token]).remove(1);
        for _ in 1..WORTH_A_LIST {
            assert!(of("doctor").is_none(), "a list is not worth it yet");
        }
        // Once compared, once kept; beside one that is new.
        for others in ["doctor", "banana"] {
            let list = of(others).expect("a list");
            let mut near = list.iter();
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
    fn among_some_it_is_what_it_is_among_all() {
        let table = Table::built_in();
        let tokens = token_ids("a boat on the sea, a red car");
        let some: Vec<Token> = (0..1000).map(|number| number * 13).collect();
        let all = among_all(table, &tokens);
        for (few, all) in among(table, &tokens, &some).iter().zip(&all) {
            assert!(few.iter().eq(all.iter().filter(|(token, _)| some.contains(token))));
        }
        assert!(all.iter().any(|near| near.iter().count() > 1));
    }

    #[test]
    fn a_token_that_is_none_is_near_to_nothing() {
        let table = Table::built_in();
        let found = (0..WORTH_A_LIST).filter_map(|_| lists(table, &[Token::MAX]).remove(0)).next_back();
        assert_eq!(found.expect("a list").iter().count(), 0);
        assert_eq!(among(table, &[Token::MAX], &[0, 1])[0].iter().count(), 0);
    }
}
