//! Text that nobody wrote, with the shape of text that people write: English words, of which few are common and most are
//! rare (Zipf), and what belongs to one session shares its subject. The same numbers give the same text on every machine.

/// Distinct words. English conversations of this size have some 30,000.
const WORDS: usize = 30_000;
/// Word pieces, the more common ones first: those that are whole words are the more common words here.
const PIECES: &str = include_str!("../../servers/retrieval/data/vocabulary.txt");
/// Memories of one session.
const SESSION: usize = 20;
/// Words that a session is about.
const SUBJECT: usize = 6;

/// A sequence of numbers that look random (`SplitMix64`).
#[derive(Debug, Clone)]
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below this bound, which is not zero.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap_or_default()
    }

    /// From 0 to 1.
    #[allow(clippy::cast_precision_loss, reason = "32 bits fit")]
    fn fraction(&mut self) -> f64 {
        (self.next() >> 32) as f64 / f64::from(u32::MAX)
    }
}

/// Every memory there could be, by number.
#[derive(Debug)]
pub(crate) struct Corpus {
    words: Vec<String>,
    /// For each word the share of all text that it and the more common ones make up.
    shares: Vec<f64>,
}

/// One memory.
#[derive(Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) session: String,
    pub(crate) content: String,
}

impl Corpus {
    pub(crate) fn new() -> Self {
        let mut numbers = Numbers::new(1);
        let is_word = |piece: &&str| piece.len() > 1 && piece.bytes().all(|byte| byte.is_ascii_lowercase());
        let common = PIECES.lines().filter(is_word).map(ToOwned::to_owned);
        let words = common.chain((0..).map(|rank| name(rank, &mut numbers))).take(WORDS).collect();
        let mut total = 0.0;
        let mut shares: Vec<f64> = (1..=WORDS)
            .map(|rank| {
                #[allow(clippy::cast_precision_loss, reason = "ranks are small")]
                let weight = 1.0 / (rank as f64 + 2.7);
                total += weight;
                total
            })
            .collect();
        for share in &mut shares {
            *share /= total;
        }
        Self { words, shares }
    }

    /// The memory of this number.
    pub(crate) fn entry(&self, number: usize) -> Entry {
        let mut numbers = Numbers::new(0x6d65_6d6f + number as u64);
        let subject = self.subject(number / SESSION);
        let length = 8 + numbers.below(33);
        let words: Vec<&str> = (0..length)
            .map(|_| match numbers.below(5) {
                0 => subject[numbers.below(SUBJECT)],
                _ => self.common(&mut numbers),
            })
            .collect();
        Entry { session: format!("session-{}", number / SESSION), content: words.join(" ") }
    }

    /// A question about one of the first so many memories: words of its own, some common ones around them.
    pub(crate) fn question(&self, number: usize, memories: usize) -> String {
        let mut numbers = Numbers::new(0x7175_6572 ^ (number as u64).rotate_left(32));
        let entry = self.entry(numbers.below(memories));
        let content: Vec<&str> = entry.content.split(' ').collect();
        let mut words: Vec<&str> = (0..2).map(|_| self.common(&mut numbers)).collect();
        words.extend((0..4).map(|_| content[numbers.below(content.len())]));
        words.join(" ")
    }

    fn subject(&self, session: usize) -> [&str; SUBJECT] {
        let mut numbers = Numbers::new(0x7375_626a + session as u64);
        // Not the most common words: those say nothing.
        std::array::from_fn(|_| self.words[200 + numbers.below(WORDS - 200)].as_str())
    }

    fn common(&self, numbers: &mut Numbers) -> &str {
        let drawn = numbers.fraction();
        let rank = self.shares.partition_point(|share| *share < drawn).min(WORDS - 1);
        &self.words[rank]
    }
}

/// A rare word that no dictionary holds, as names are. The rank is written in syllables, so that no two are alike.
fn name(rank: usize, numbers: &mut Numbers) -> String {
    const ONSETS: [&str; 16] =
        ["b", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "st"];
    const NUCLEI: [&str; 4] = ["a", "e", "i", "o"];
    const CODAS: [&str; 4] = ["", "n", "r", "nd"];
    let mut text = String::new();
    let mut left = rank;
    loop {
        text += ONSETS[left % 16];
        text += NUCLEI[left / 16 % 4];
        left /= 64;
        if left == 0 {
            break;
        }
    }
    // No other name has this rank's syllables, whatever it ends in.
    text + CODAS[numbers.below(4)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn the_same_number_is_the_same_memory_and_others_differ() {
        let corpus = Corpus::new();
        assert_eq!(corpus.entry(7), Corpus::new().entry(7));
        assert_ne!(corpus.entry(7).content, corpus.entry(8).content);
        assert_eq!(corpus.entry(0).session, corpus.entry(SESSION - 1).session);
        assert_ne!(corpus.question(1, 100), corpus.question(2, 100));
    }

    #[test]
    fn few_words_are_common_and_most_are_rare() {
        let corpus = Corpus::new();
        let mut counts = HashMap::new();
        for number in 0..2000 {
            for word in corpus.entry(number).content.split(' ') {
                *counts.entry(word.to_owned()).or_insert(0usize) += 1;
            }
        }
        let total: usize = counts.values().sum();
        let most = counts.values().max().copied().unwrap_or_default();
        let once = counts.values().filter(|count| **count == 1).count();
        assert!(most * 100 > total && most * 10 < total, "the most common word makes up {most} of {total}");
        assert!(once * 4 > counts.len(), "{once} of {} words stand once", counts.len());
    }
}
