//! From any text to a full-text query that cannot be wrong.

use std::collections::HashSet;
use std::fmt::Write;

/// The most words of a query that count. Each costs a look through the index; a question has fewer, and
/// a pasted document is told apart by its first ones.
const MAX_WORDS: usize = 64;

/// The FTS5 expression for a text: each of its words in quotes, which leaves no operator in it, joined by
/// OR. `None` when there is no word in the text.
///
/// Combining accents stay in their words: the index folds them away, and so it does here.
pub(super) fn match_expression(text: &str) -> Option<String> {
    let mut seen = HashSet::new();
    let words = text
        .split(|c: char| !(c.is_alphanumeric() || ('\u{300}'..='\u{36f}').contains(&c)))
        .filter(|word| word.chars().any(char::is_alphanumeric))
        .filter(|word| seen.insert(word.to_lowercase()))
        .take(MAX_WORDS);
    let mut expression = String::new();
    for word in words {
        let or = if expression.is_empty() { "" } else { " OR " };
        // Writing to a string cannot fail.
        let _ = write!(expression, "{or}\"{word}\"");
    }
    (!expression.is_empty()).then_some(expression)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_are_quoted_and_joined_by_or() {
        let expression = match_expression("What's the \"plan\" NEAR(x, 2) AND plan* -col:y?").expect("words");
        assert_eq!(
            expression,
            r#""What" OR "s" OR "the" OR "plan" OR "NEAR" OR "x" OR "2" OR "AND" OR "col" OR "y""#
        );
    }

    #[test]
    fn accents_stay_in_their_words() {
        assert_eq!(match_expression("re\u{301}sume\u{301}"), Some("\"re\u{301}sume\u{301}\"".to_owned()));
    }

    #[test]
    fn a_text_without_words_is_no_query() {
        for text in ["", "  \n", "🎉🎉", "\"'--;", "\u{0}", "\u{301}"] {
            assert_eq!(match_expression(text), None, "{text:?}");
        }
    }

    #[test]
    fn only_so_many_words_count() {
        let text: String = (0..5000).fold(String::new(), |text, n| format!("{text} w{n}"));
        assert_eq!(match_expression(&text).expect("words").matches(" OR ").count(), MAX_WORDS - 1);
    }

    proptest! {
        #[test]
        fn nothing_but_letters_and_digits_gets_into_the_quotes(text in any::<String>()) {
            let expression = match_expression(&text).unwrap_or_default();
            for word in expression.split(" OR ").filter(|word| !word.is_empty()) {
                let inner = word.strip_prefix('"').and_then(|word| word.strip_suffix('"')).expect("quoted");
                prop_assert!(!inner.contains(|c: char| c == '"' || c.is_control() || c.is_whitespace()));
            }
        }
    }
}
