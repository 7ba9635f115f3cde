//! Which tools fit some words, best first.
//!
//! Two judgements are added: how the words of a query meet those of a tool, with a weight for the place where
//! they stand and a forgiving eye for typing errors, and how alike the two texts are by the retrieval that
//! memories are found with. With some hundred tools, every one is looked at.

use crate::tool::Card;
use mcp_system_retrieval::{Analysis, Index, Query};
use std::collections::HashSet;

/// What a word counts where it is found.
const IN_NAME: f64 = 4.0;
const IN_KEYWORDS: f64 = 3.0;
const IN_CATEGORY: f64 = 2.0;
const IN_DESCRIPTION: f64 = 1.0;
/// A word that only begins like one of the tool's counts less, and one that is only like it still less.
const BEGINNING: f64 = 0.6;
const ALIKE: f64 = 0.4;
/// How alike is like enough; 1 is equal.
const LIKENESS: f64 = 0.88;
/// The most words of a query that count.
const MAX_WORDS: usize = 32;
/// What scores less than this is left out.
const NOISE: f64 = 0.2;

/// A meaning that is less alike than this is none, where no word is shared.
const ALIKE_IN_MEANING: f32 = 0.35;
/// What the best in words and the best in meaning count.
const WORDS: f64 = 0.6;
const MEANING: f64 = 0.4;

/// Finds tools.
#[derive(Debug)]
pub struct Finder {
    cards: Vec<Card>,
    fields: Vec<[Vec<String>; 4]>,
    /// By the place of the tool.
    meanings: Index<usize>,
}

impl Finder {
    /// Reads what tools say of themselves.
    pub fn new<'a>(cards: impl Iterator<Item = &'a Card>) -> Self {
        let cards: Vec<Card> = cards.cloned().collect();
        let mut meanings = Index::new();
        for (place, card) in cards.iter().enumerate() {
            let names = format!("{} {} {}", card.name.replace('_', " "), card.title, card.keywords.join(" "));
            let analysis = Analysis::of(&format!("{}. {}", card.title, card.description), Some(&names));
            meanings.insert(place as u64, None, &analysis, None, place);
        }
        Self { fields: cards.iter().map(fields).collect(), cards, meanings }
    }

    /// The names of the tools that fit, with a score; best first, those of one score by name. A query without
    /// words fits every tool.
    pub fn find(&self, query: &str, wanted: impl Fn(&Card) -> bool) -> Vec<(String, f64)> {
        let wanted: Vec<usize> = (0..self.cards.len()).filter(|place| wanted(&self.cards[*place])).collect();
        let mut seen = HashSet::new();
        let sought: Vec<String> =
            words(query).filter(|word| seen.insert(word.clone())).take(MAX_WORDS).collect();
        let mut ranked: Vec<(usize, f64)> = if sought.is_empty() {
            wanted.iter().map(|place| (*place, 0.0)).collect()
        } else {
            let (by_words, by_meaning) = (self.by_words(&sought, &wanted), self.by_meaning(&sought, &wanted));
            let ranked = wanted
                .iter()
                .enumerate()
                .map(|(at, place)| (*place, WORDS * by_words[at] + MEANING * by_meaning[at]));
            // What is far behind the best is noise: one common word of many.
            ranked.filter(|(_, score)| *score >= NOISE).collect()
        };
        ranked.sort_by(|a, b| {
            b.1.total_cmp(&a.1).then_with(|| self.cards[a.0].name.cmp(&self.cards[b.0].name))
        });
        ranked.into_iter().map(|(place, score)| (self.cards[place].name.clone(), score)).collect()
    }

    /// How the words meet each tool's: the best has 1.
    fn by_words(&self, sought: &[String], wanted: &[usize]) -> Vec<f64> {
        let mut scores = vec![0.0; wanted.len()];
        for word in sought {
            let counts: Vec<f64> = wanted.iter().map(|place| weigh(word, &self.fields[*place])).collect();
            let fitting = counts.iter().filter(|count| **count > 0.0).count();
            // A word that fits every tool tells nothing about any.
            let telling = (1.0 + ratio(wanted.len(), fitting.max(1))).ln();
            for (score, count) in scores.iter_mut().zip(counts) {
                *score += count * telling;
            }
        }
        scaled(scores)
    }

    /// How alike the texts are: the best has 1.
    fn by_meaning(&self, sought: &[String], wanted: &[usize]) -> Vec<f64> {
        let mut query = Query::of(&sought.join(" "));
        query.limit = self.cards.len();
        let allowed: HashSet<usize> = wanted.iter().copied().collect();
        let hits = self.meanings.search(&query, Some(&|place| allowed.contains(place)), |_| 1.0);
        let mut scores = vec![0.0; wanted.len()];
        for hit in hits {
            let means_it = hit.parts.lexical > 0.0 || hit.parts.vector >= ALIKE_IN_MEANING;
            if let Some(place) = self.meanings.get(hit.key).filter(|_| means_it)
                && let Ok(at) = wanted.binary_search(place)
            {
                scores[at] = f64::from(hit.score);
            }
        }
        scaled(scores)
    }
}

fn scaled(mut scores: Vec<f64>) -> Vec<f64> {
    let best = scores.iter().copied().fold(0.0, f64::max);
    if best > 0.0 {
        for score in &mut scores {
            *score /= best;
        }
    }
    scores
}

#[allow(clippy::cast_precision_loss, reason = "numbers of tools are small")]
fn ratio(all: usize, some: usize) -> f64 {
    all as f64 / some as f64
}

fn fields(about: &Card) -> [Vec<String>; 4] {
    [
        words(&about.name).chain(words(&about.title)).collect(),
        about.keywords.iter().flat_map(|keyword| words(keyword)).collect(),
        words(&about.category).collect(),
        words(&about.description).collect(),
    ]
}

/// What a word counts for a tool: the most that any of its fields gives.
fn weigh(word: &str, fields: &[Vec<String>; 4]) -> f64 {
    let weights = [IN_NAME, IN_KEYWORDS, IN_CATEGORY, IN_DESCRIPTION];
    fields
        .iter()
        .zip(weights)
        .flat_map(|(field, weight)| field.iter().map(move |other| weight * likeness(word, other)))
        .fold(0.0, f64::max)
}

fn likeness(word: &str, other: &str) -> f64 {
    if word == other {
        1.0
    } else if word.len() < 3 || other.len() < 3 {
        0.0
    } else if other.starts_with(word) || word.starts_with(other) {
        BEGINNING
    } else if word.len() > 3 && strsim::jaro_winkler(word, other) >= LIKENESS {
        ALIKE
    } else {
        0.0
    }
}

/// Words that stand in every sentence.
const FILLERS: [&str; 26] = [
    "a", "an", "and", "are", "at", "by", "can", "for", "from", "how", "i", "in", "is", "it", "me", "of",
    "on", "or", "please", "that", "the", "this", "to", "tool", "what", "with",
];

/// The words of a text in lower case, without fillers and the s of a plural.
fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty() && word.len() <= 64)
        .map(str::to_lowercase)
        .filter(|word| !FILLERS.contains(&word.as_str()))
        .map(|word| match word.strip_suffix('s') {
            Some(one) if one.len() > 2 && !one.ends_with('s') => one.to_owned(),
            _ => word,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::cards;

    fn names(query: &str) -> Vec<String> {
        Finder::new(cards().iter()).find(query, |_| true).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn the_tool_that_fits_best_comes_first() {
        for (query, best) in [
            ("cache_get", "cache_get"),
            ("get a value from the cache", "cache_get"),
            ("remove a cached entry", "cache_delete"),
            ("keep something for later with a time to live", "cache_set"),
            ("how much memory is free", "system_info"),
            ("hostname", "system_info"),
            ("download a web page", "http_fetch"),
            ("fetch url", "http_fetch"),
            ("HTTP", "http_fetch"),
            ("cahce delete", "cache_delete"),
            ("sysinfo", "system_info"),
            ("how full is the hard drive", "system_disks"),
            ("which programs use the most memory", "system_processes"),
            ("find a document among the files", "search_files"),
            ("google something", "web_search"),
            ("ask a database with SQL", "query_database"),
            ("what columns does a table have", "describe_table"),
            ("turn text into vectors", "ai_embed"),
            ("ask a language model", "ai_complete"),
        ] {
            assert_eq!(names(query).first().map(String::as_str), Some(best), "{query}: {:?}", names(query));
        }
    }

    #[test]
    fn no_words_fit_every_tool_and_strange_ones_none() {
        let mut all = mcp_system_user_tools::BUILT_IN;
        all.sort_unstable();
        assert_eq!(names(""), all);
        assert_eq!(names(" 🎉 !?"), all);
        assert!(names("zzzzzz qqqqqq").is_empty());
    }

    #[test]
    fn a_long_text_does_no_harm() {
        names(&"x".repeat(100_000));
        names(&"lorem ipsum ".repeat(10_000));
    }
}
