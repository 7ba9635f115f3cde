//! Texts that PostgreSQL takes: its texts hold every character but U+0000.

use std::borrow::Cow;

/// Stands before a digit that tells which character is meant. No text uses it: it is reserved by Unicode.
const ESCAPE: char = '\u{10FFFE}';

/// A text as the database keeps it.
pub(super) fn kept(text: &str) -> Cow<'_, str> {
    if !text.contains(['\0', ESCAPE]) {
        return Cow::Borrowed(text);
    }
    let mut kept = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '\0' => kept.extend([ESCAPE, '0']),
            ESCAPE => kept.extend([ESCAPE, '1']),
            character => kept.push(character),
        }
    }
    Cow::Owned(kept)
}

/// The text that was given.
pub(super) fn given(kept: String) -> String {
    if !kept.contains(ESCAPE) {
        return kept;
    }
    let mut given = String::with_capacity(kept.len());
    let mut characters = kept.chars();
    while let Some(character) = characters.next() {
        match character {
            ESCAPE => given.push(if characters.next() == Some('0') { '\0' } else { ESCAPE }),
            character => given.push(character),
        }
    }
    given
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_text_comes_back(text in "[\u{0}a\u{10FFFE}01\u{e9}]{0,20}") {
            let kept = kept(&text).into_owned();
            prop_assert!(!kept.contains('\0'));
            prop_assert_eq!(given(kept), text);
        }
    }
}
