//! Which memories say the same, out of many, without comparing each with each.
//!
//! Two memories are compared only if they share one of their rarest words, and they count as near-duplicates only if they
//! are of one type and agree in every number and in whether they deny something: "on the 3rd" and "on the 4th" are alike in meaning,
//! but are not the same.

use mcp_system_retrieval::Analysis;
use std::collections::{BTreeSet, HashMap};

/// The rarest words of each memory by which it is compared.
const RAREST: usize = 3;
/// Memories that share a word and are compared with each other; of a more common one, these many neighbours.
const MOST: usize = 64;
/// Words that deny.
const DENIALS: [&str; 12] = [
    "not", "no", "never", "none", "nothing", "cannot", "without", "t", "nobody", "neither", "nor", "stopped",
];

/// A memory as it is compared.
#[derive(Debug)]
pub(super) struct Text {
    memory_type: String,
    words: BTreeSet<String>,
    particular: BTreeSet<String>,
    analysis: Analysis,
}

impl Text {
    pub(super) fn of(memory_type: &str, content: &str, analysis: Analysis) -> Self {
        let words: BTreeSet<String> = content
            .split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(str::to_lowercase)
            .collect();
        let is_particular =
            |word: &&String| word.contains(|c: char| c.is_numeric()) || DENIALS.contains(&word.as_str());
        let particular = words.iter().filter(is_particular).cloned().collect();
        Self { memory_type: memory_type.to_owned(), words, particular, analysis }
    }

    fn says_the_same(&self, other: &Self, threshold: f32) -> bool {
        self.memory_type == other.memory_type
            && self.particular == other.particular
            && self.analysis.similarity(&other.analysis) >= threshold
    }
}

/// For each text the one that it can be merged into, if any. Texts come best first: the first of a group stays.
pub(super) fn merges(texts: &[Text], threshold: f32) -> Vec<Option<usize>> {
    let mut frequency: HashMap<&str, usize> = HashMap::new();
    for word in texts.iter().flat_map(|text| &text.words) {
        *frequency.entry(word).or_default() += 1;
    }
    // The ones that stay, by their rarest words.
    let mut staying: HashMap<&str, Vec<usize>> = HashMap::new();
    let mut merges = vec![None; texts.len()];
    for (place, text) in texts.iter().enumerate() {
        let mut rare: Vec<&str> = text.words.iter().map(String::as_str).collect();
        rare.sort_by_key(|word| frequency[word]);
        rare.truncate(RAREST);
        let same = rare
            .iter()
            .filter_map(|word| staying.get(word))
            .flat_map(|places| places.iter().rev().take(MOST))
            .copied()
            .filter(|&other| text.says_the_same(&texts[other], threshold))
            .min();
        merges[place] = same;
        if same.is_none() {
            for word in rare {
                staying.entry(word).or_default().push(place);
            }
        }
    }
    merges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(contents: &[&str], threshold: f32) -> Vec<Option<usize>> {
        let texts: Vec<Text> = contents
            .iter()
            .map(|content| Text::of("general", content, Analysis::of(content, None)))
            .collect();
        merges(&texts, threshold)
    }

    #[test]
    fn what_says_the_same_is_merged_into_the_first() {
        let contents = [
            "Ada prefers green tea in the morning",
            "My cat sleeps all day",
            "ada prefers green tea, in the morning!",
            "In the morning Ada prefers green tea",
        ];
        assert_eq!(merged(&contents, 0.9), [None, None, Some(0), Some(0)]);
    }

    #[test]
    fn another_number_or_a_denial_is_another_memory() {
        let contents = [
            "The meeting with Bob is on the 3rd of May",
            "The meeting with Bob is on the 4th of May",
            "The meeting with Bob is not on the 3rd of May",
        ];
        assert_eq!(merged(&contents, 0.5), [None, None, None]);
    }
}
