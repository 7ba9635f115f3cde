//! BM25 over an inverted index (Robertson, Zaragoza 2009).

use crate::words::Term;
use rustc_hash::FxHashMap;

/// How soon a word that is repeated counts no more, and how much the length of a text matters. Memories are short
/// and of one kind, so both are below the usual 1.2 and 0.75.
const K1: f32 = 0.9;
const B: f32 = 0.4;

/// Bits of a posting that count halves of a word; the rest is the entry's slot.
const COUNT_BITS: u32 = 4;
const MOST_HALVES: u8 = (1 << COUNT_BITS) - 1;

/// The most slots that an index can have.
pub(crate) const MOST_SLOTS: u32 = 1 << (32 - COUNT_BITS);

/// Where a term stands. Most terms of natural language stand in one place only.
#[derive(Debug)]
enum Postings {
    One(u32),
    Many(Vec<u32>),
}

impl Postings {
    fn as_slice(&self) -> &[u32] {
        match self {
            Self::One(posting) => std::slice::from_ref(posting),
            Self::Many(postings) => postings,
        }
    }

    fn push(&mut self, posting: u32) {
        match self {
            Self::One(first) => *self = Self::Many(vec![*first, posting]),
            Self::Many(postings) => postings.push(posting),
        }
    }
}

/// Which slots hold which terms.
#[derive(Debug, Default)]
pub(crate) struct Lexical {
    postings: FxHashMap<Term, Postings>,
    /// Words of each slot.
    lengths: Vec<f32>,
    words: f64,
    heap: usize,
}

impl Lexical {
    /// Adds the next slot. Its number must be below [`MOST_SLOTS`].
    pub(crate) fn push(&mut self, terms: &[(Term, u8)]) {
        let slot = u32::try_from(self.lengths.len()).unwrap_or(u32::MAX);
        let mut halves = 0.0;
        for &(term, count) in terms {
            halves += f32::from(count);
            let posting = slot << COUNT_BITS | u32::from(count.min(MOST_HALVES));
            match self.postings.entry(term) {
                std::collections::hash_map::Entry::Occupied(mut known) => known.get_mut().push(posting),
                std::collections::hash_map::Entry::Vacant(new) => {
                    new.insert(Postings::One(posting));
                }
            }
        }
        self.heap += terms.len() * 6;
        self.lengths.push(halves / 2.0);
        self.words += f64::from(halves / 2.0);
    }

    /// The score of every slot for a query's terms; 0 where there is none of them.
    pub(crate) fn scores(&self, terms: &[(Term, u8)]) -> Vec<f32> {
        let mut scores = vec![0.0; self.lengths.len()];
        if scores.is_empty() {
            return scores;
        }
        let all = count(scores.len());
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            reason = "a mean, not an account"
        )]
        let mean = ((self.words / self.lengths.len() as f64) as f32).max(f32::MIN_POSITIVE);
        let (base, by_length) = (K1 * (1.0 - B), K1 * B / mean);
        for postings in terms.iter().filter_map(|(term, _)| self.postings.get(term)) {
            let postings = postings.as_slice();
            let having = count(postings.len());
            let rarity = (1.0 + (all - having + 0.5) / (having + 0.5)).ln() * (K1 + 1.0);
            for posting in postings {
                let slot = (posting >> COUNT_BITS) as usize;
                let times = count((posting & u32::from(MOST_HALVES)) as usize) / 2.0;
                scores[slot] += rarity * times / (times + base + by_length * self.lengths[slot]);
            }
        }
        scores
    }

    /// Gives each slot its new number, and forgets those that have none. The order must stay.
    pub(crate) fn renumber(&mut self, new: &[Option<u32>]) {
        self.heap = 0;
        self.postings.retain(|_, postings| {
            let kept: Vec<u32> = postings
                .as_slice()
                .iter()
                .filter_map(|posting| {
                    let slot = new[(posting >> COUNT_BITS) as usize]?;
                    Some(slot << COUNT_BITS | posting & u32::from(MOST_HALVES))
                })
                .collect();
            self.heap += kept.len() * 6;
            *postings = match kept.as_slice() {
                [] => return false,
                [one] => Postings::One(*one),
                _ => Postings::Many(kept),
            };
            true
        });
        let mut slot = 0;
        self.lengths.retain(|_| {
            slot += 1;
            new[slot - 1].is_some()
        });
        self.words = self.lengths.iter().map(|&length| f64::from(length)).sum();
    }

    /// Heap bytes, roughly.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.heap
            + self.postings.capacity() * (size_of::<Postings>() + size_of::<Term>() + 1)
            + self.lengths.capacity() * 4
    }
}

#[allow(clippy::cast_precision_loss, reason = "a score, not an account")]
const fn count(number: usize) -> f32 {
    number as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Analysis;

    fn index(texts: &[&str]) -> Lexical {
        let mut index = Lexical::default();
        for text in texts {
            index.push(&Analysis::of(text, None).terms);
        }
        index
    }

    fn scores(index: &Lexical, query: &str) -> Vec<f32> {
        index.scores(&Analysis::of(query, None).terms)
    }

    #[test]
    fn rare_words_count_more_and_short_texts_too() {
        let index = index(&["tea and cake", "tea", "tea and a long talk about many other things", "coffee"]);
        let tea = scores(&index, "tea");
        assert!(tea[1] > tea[0] && tea[0] > tea[2] && tea[2] > 0.0);
        assert!(tea[3] <= 0.0);
        assert!(scores(&index, "coffee")[3] > tea[1]);
    }

    #[test]
    fn scores_are_those_of_the_formula() {
        let index = index(&["tea tea cake", "coffee"]);
        let rarity = (1.0f32 + 1.5 / 1.5).ln();
        let expected = rarity * 2.0 * 1.9 / (2.0 + 0.9 * (0.6 + 0.4 * 3.0 / 2.0));
        assert!((scores(&index, "tea")[0] - expected).abs() < 1e-5);
    }

    #[test]
    fn what_is_renumbered_scores_as_if_it_had_been_so_from_the_start() {
        let mut some = index(&["tea", "coffee with milk", "milk tea", "water"]);
        some.renumber(&[None, Some(0), Some(1), None]);
        let fresh = index(&["coffee with milk", "milk tea"]);
        for query in ["tea", "milk", "water", "coffee milk"] {
            assert_eq!(scores(&some, query), scores(&fresh, query), "{query}");
        }
    }
}
