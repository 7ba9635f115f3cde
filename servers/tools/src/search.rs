//! Which tools fit some words, best first. A pure function: with a few dozen tools, every one is looked at.

use crate::tool::About;
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

/// The tools that fit, by their place in `tools`, with a score; best first, those of one score by name. A
/// query without words fits every tool.
pub fn rank(query: &str, tools: &[About]) -> Vec<(usize, f64)> {
    let mut seen = HashSet::new();
    let wanted: Vec<String> = words(query).filter(|word| seen.insert(word.clone())).take(MAX_WORDS).collect();
    let fields: Vec<[Vec<String>; 4]> = tools.iter().map(fields).collect();
    let mut ranked: Vec<(usize, f64)> = (0..tools.len()).map(|place| (place, 0.0)).collect();
    for word in &wanted {
        let counts: Vec<f64> = fields.iter().map(|fields| weigh(word, fields)).collect();
        let fitting = counts.iter().filter(|count| **count > 0.0).count();
        // A word that fits every tool tells nothing about any.
        let telling = (1.0 + ratio(tools.len(), fitting.max(1))).ln();
        for (place, score) in &mut ranked {
            *score += counts[*place] * telling;
        }
    }
    if !wanted.is_empty() {
        // Less than a fifth of the best is noise: one common word of many.
        let best = ranked.iter().map(|(_, score)| *score).fold(0.0, f64::max);
        ranked.retain(|(_, score)| *score > 0.0 && *score >= best * 0.2);
    }
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| tools[a.0].name.cmp(tools[b.0].name)));
    ranked
}

#[allow(clippy::cast_precision_loss, reason = "numbers of tools are small")]
fn ratio(all: usize, some: usize) -> f64 {
    all as f64 / some as f64
}

fn fields(about: &About) -> [Vec<String>; 4] {
    [
        words(about.name).chain(words(about.title)).collect(),
        about.keywords.iter().flat_map(|keyword| words(keyword)).collect(),
        words(about.category.name).collect(),
        words(about.description).collect(),
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
    use crate::builtin::abouts;

    fn names(query: &str) -> Vec<&'static str> {
        let tools = abouts();
        rank(query, &tools).into_iter().map(|(place, _)| tools[place].name).collect()
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
        ] {
            assert_eq!(names(query).first(), Some(&best), "{query}: {:?}", names(query));
        }
    }

    #[test]
    fn no_words_fit_every_tool_and_strange_ones_none() {
        let all = ["cache_delete", "cache_get", "cache_set", "http_fetch", "system_info"];
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
