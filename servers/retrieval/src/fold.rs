//! Letters made comparable: lower case, without accents.

use std::borrow::Cow;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Folds by canonical decomposition, as BERT's uncased models do.
pub(crate) fn canonical(text: &str) -> Cow<'_, str> {
    ascii(text).unwrap_or_else(|| {
        text.nfd().filter(|c| !is_combining_mark(*c)).flat_map(char::to_lowercase).collect()
    })
}

/// Folds by compatible decomposition: full-width letters, ligatures and their like become plain ones too.
pub(crate) fn compatible(text: &str) -> Cow<'_, str> {
    ascii(text).unwrap_or_else(|| {
        text.nfkd().filter(|c| !is_combining_mark(*c)).flat_map(char::to_lowercase).collect()
    })
}

/// Most texts need no tables of Unicode.
fn ascii(text: &str) -> Option<Cow<'_, str>> {
    text.is_ascii().then(|| text.to_ascii_lowercase().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_folded() {
        assert_eq!(canonical("Ca\u{301}fé ÉTÉ"), "cafe ete");
        assert_eq!(canonical("PLAIN text"), "plain text");
        assert_eq!(compatible("ﬁne ＴＥＡ"), "fine tea");
    }
}
