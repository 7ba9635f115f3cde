//! Words as BM25 counts them: folded to lower case without accents, without stop words, as stems, as numbers.

use crate::fold;
use rust_stemmers::{Algorithm, Stemmer};
use rustc_hash::FxHashSet;
use std::sync::OnceLock;

/// A stem's number. Two stems in some billions share one, which costs a little precision and no correctness.
pub(crate) type Term = u32;

/// The longest word that is looked at, in bytes: what is longer is no word (a token, a hash, base64).
const LONGEST: usize = 64;

/// English words that tell nothing about what a text is about.
const STOP_WORDS: &[&str] = &[
    "a",
    "about",
    "above",
    "after",
    "again",
    "against",
    "all",
    "am",
    "an",
    "and",
    "any",
    "are",
    "as",
    "at",
    "be",
    "because",
    "been",
    "before",
    "being",
    "below",
    "between",
    "both",
    "but",
    "by",
    "can",
    "could",
    "did",
    "do",
    "does",
    "doing",
    "down",
    "during",
    "each",
    "few",
    "for",
    "from",
    "further",
    "had",
    "has",
    "have",
    "having",
    "he",
    "her",
    "here",
    "hers",
    "herself",
    "him",
    "himself",
    "his",
    "how",
    "i",
    "if",
    "in",
    "into",
    "is",
    "it",
    "its",
    "itself",
    "just",
    "me",
    "might",
    "more",
    "most",
    "must",
    "my",
    "myself",
    "no",
    "nor",
    "not",
    "now",
    "of",
    "off",
    "on",
    "once",
    "only",
    "or",
    "other",
    "our",
    "ours",
    "ourselves",
    "out",
    "over",
    "own",
    "same",
    "shall",
    "she",
    "should",
    "so",
    "some",
    "such",
    "than",
    "that",
    "the",
    "their",
    "theirs",
    "them",
    "themselves",
    "then",
    "there",
    "these",
    "they",
    "this",
    "those",
    "through",
    "to",
    "too",
    "under",
    "until",
    "up",
    "upon",
    "us",
    "very",
    "was",
    "we",
    "were",
    "what",
    "when",
    "where",
    "which",
    "while",
    "who",
    "whom",
    "whose",
    "why",
    "will",
    "with",
    "would",
    "yet",
    "you",
    "your",
    "yours",
    "yourself",
    "yourselves",
    "ain",
    "aren",
    "don",
];

/// The number of each word of a text, in order. Stop words are left out, unless there is nothing else.
pub(crate) fn terms(text: &str) -> Vec<Term> {
    let stemmer = Stemmer::create(Algorithm::English);
    let mut all = Vec::new();
    let mut telling = Vec::new();
    for_each_word(text, |word| {
        let term = hash(&stemmer.stem(word));
        all.push(term);
        if !is_stop_word(word) {
            telling.push(term);
        }
    });
    if telling.is_empty() { all } else { telling }
}

fn is_stop_word(word: &str) -> bool {
    static SET: OnceLock<FxHashSet<&str>> = OnceLock::new();
    SET.get_or_init(|| STOP_WORDS.iter().copied().collect()).contains(word)
}

/// Hands on each word, folded. What follows an apostrophe (`'s`, `n't`) is no word. Han characters, kana and Hangul
/// have no spaces between words: each pair of neighbours counts as one.
fn for_each_word(text: &str, mut take: impl FnMut(&str)) {
    let mut word = String::new();
    let mut pair: Option<char> = None;
    let mut after_apostrophe = false;
    for c in fold::compatible(text).chars().chain([' ']) {
        let joined = is_unspaced(c);
        if c.is_alphanumeric() && !joined {
            pair = None;
            // A word that goes on for ever is cut, not collected.
            if word.len() < LONGEST {
                word.push(c);
            }
            continue;
        }
        if !word.is_empty() {
            if !(after_apostrophe && is_ending(&word)) {
                take(&word);
            }
            word.clear();
        }
        after_apostrophe = matches!(c, '\'' | '\u{2019}');
        if joined {
            let both = pair.map_or_else(|| c.to_string(), |first| [first, c].iter().collect());
            take(&both);
            pair = Some(c);
        } else {
            pair = None;
        }
    }
}

fn is_ending(word: &str) -> bool {
    matches!(word, "s" | "t" | "d" | "m" | "ll" | "re" | "ve")
}

fn is_unspaced(c: char) -> bool {
    matches!(u32::from(c), 0x1100..=0x11ff | 0x3040..=0x30ff | 0x3400..=0x4dbf | 0x4e00..=0x9fff
        | 0xac00..=0xd7af | 0xf900..=0xfaff | 0x2_0000..=0x3_ffff)
}

/// FNV-1a. It is kept with stored texts, so it must stay as it is.
fn hash(word: &str) -> Term {
    word.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(text: &str) -> Vec<String> {
        let mut words = Vec::new();
        for_each_word(text, |word| words.push(word.to_owned()));
        words
    }

    #[test]
    fn words_are_folded_and_endings_dropped() {
        assert_eq!(words("Zoë's CAFÉ isn\u{2019}t open_now"), ["zoe", "cafe", "isn", "open", "now"]);
    }

    #[test]
    fn forms_of_a_word_are_one_term() {
        assert_eq!(terms("plan"), terms("planned"));
        assert_eq!(terms("plans"), terms("planning"));
        assert_ne!(terms("plan"), terms("plane"));
    }

    #[test]
    fn stop_words_count_only_where_there_is_nothing_else() {
        assert_eq!(terms("what is the plan"), terms("plan"));
        assert_eq!(terms("to be or not to be").len(), 6);
    }

    #[test]
    fn writing_without_spaces_counts_in_pairs() {
        assert_eq!(words("東京都"), ["東", "東京", "京都"]);
        assert!(terms("東京都に行く").contains(&terms("京都")[1]));
    }

    proptest! {
        #[test]
        fn any_text_has_at_most_as_many_terms_as_characters(text in any::<String>()) {
            let decomposed = fold::compatible(&text).chars().count();
            prop_assert!(terms(&text).len() <= decomposed * 3);
        }
    }
}
