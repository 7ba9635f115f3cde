//! WordPiece tokens, as BERT's uncased models cut texts (Devlin et al. 2018; Wu et al. 2016).

use crate::fold;
use rustc_hash::FxHashMap;
use std::sync::OnceLock;

/// A token's number: its line in the vocabulary.
pub(crate) type Token = u16;

/// A longer word is not cut but unknown, as in the models that this follows.
const LONGEST_WORD: usize = 100;
/// The longest token of the vocabulary that is compiled in has 18 characters; no longer piece is looked up.
const LONGEST_PIECE: usize = 18;

/// The tokens that are known.
#[derive(Debug)]
pub struct Vocabulary {
    /// Tokens that begin a word.
    first: FxHashMap<&'static str, Token>,
    /// Tokens that go on in one, without their `##`.
    following: FxHashMap<&'static str, Token>,
}

impl Vocabulary {
    /// The vocabulary that is compiled in: that of BERT base uncased, which the models of the MiniLM family use.
    /// Made at its first use, in some milliseconds.
    pub fn built_in() -> &'static Self {
        static BUILT_IN: OnceLock<Vocabulary> = OnceLock::new();
        BUILT_IN.get_or_init(|| Self::of(include_str!("../data/vocabulary.txt")))
    }

    fn of(lines: &'static str) -> Self {
        let (mut first, mut following) = (FxHashMap::default(), FxHashMap::default());
        for (number, token) in (0..=Token::MAX).zip(lines.lines()) {
            // `[CLS]`, `[UNK]` and their like are no text.
            if token.len() > 2 && token.starts_with('[') && token.ends_with(']') {
                continue;
            }
            match token.strip_prefix("##") {
                Some(piece) if !piece.is_empty() => following.insert(piece, number),
                _ => first.insert(token, number),
            };
        }
        Self { first, following }
    }

    /// The tokens of a text. Words that cannot be cut into known pieces are left out.
    pub(crate) fn tokens(&self, text: &str) -> Vec<Token> {
        let mut tokens = Vec::with_capacity(text.len() / 4);
        let mut word = String::new();
        for c in fold::canonical(text).chars() {
            if c.is_whitespace() || c.is_control() {
                self.cut(&mut word, &mut tokens);
            } else if stands_alone(c) {
                self.cut(&mut word, &mut tokens);
                word.push(c);
                self.cut(&mut word, &mut tokens);
            } else {
                word.push(c);
            }
        }
        self.cut(&mut word, &mut tokens);
        tokens
    }

    /// Cuts a word into the longest known pieces, from its beginning on, and leaves it empty.
    fn cut(&self, word: &mut String, tokens: &mut Vec<Token>) {
        let before = tokens.len();
        let mut rest = word.as_str();
        let mut pieces = &self.first;
        if rest.chars().take(LONGEST_WORD + 1).count() > LONGEST_WORD {
            rest = "";
        }
        while !rest.is_empty() {
            let Some((end, token)) = longest(pieces, rest) else {
                // No half words: the parts that were found mean something else.
                tokens.truncate(before);
                break;
            };
            tokens.push(token);
            rest = &rest[end..];
            pieces = &self.following;
        }
        word.clear();
    }
}

/// The longest piece with which a text begins, and where it ends.
fn longest(pieces: &FxHashMap<&'static str, Token>, text: &str) -> Option<(usize, Token)> {
    let mut ends = [0; LONGEST_PIECE];
    let mut count = 0;
    for (end, (start, c)) in ends.iter_mut().zip(text.char_indices()) {
        *end = start + c.len_utf8();
        count += 1;
    }
    ends[..count].iter().rev().find_map(|&end| pieces.get(&text[..end]).map(|&token| (end, token)))
}

/// The numbers of a text's tokens in the vocabulary that is compiled in, for a model that shares it. Without the
/// marks that a model puts around a text (`[CLS]` is 101, `[SEP]` 102).
pub fn token_ids(text: &str) -> Vec<u16> {
    Vocabulary::built_in().tokens(text)
}

/// Punctuation and signs are tokens of their own, and so are Han characters.
fn stands_alone(c: char) -> bool {
    c.is_ascii_punctuation()
        || matches!(u32::from(c), 0x4e00..=0x9fff | 0x3400..=0x4dbf | 0xf900..=0xfaff | 0x2_0000..=0x2_fa1f)
        || (!c.is_ascii()
            && !c.is_alphanumeric()
            && matches!(u32::from(c), 0xa1..=0xbf | 0x2010..=0x205e | 0x3000..=0x303f | 0xff00..=0xff65))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pieces(text: &str) -> Vec<&'static str> {
        let lines: Vec<_> = include_str!("../data/vocabulary.txt").lines().collect();
        token_ids(text).into_iter().map(|token| lines[usize::from(token)]).collect()
    }

    #[test]
    fn words_are_cut_as_bert_cuts_them() {
        assert_eq!(pieces("Hello, unaffable World!"), ["hello", ",", "una", "##ffa", "##ble", "world", "!"]);
        assert_eq!(pieces("Caf\u{e9} isn't unaff\u{e9}"), ["cafe", "isn", "'", "t", "una", "##ffe"]);
        assert_eq!(pieces("東京"), ["東", "京"]);
    }

    #[test]
    fn what_is_unknown_is_left_out() {
        assert_eq!(pieces("🎉 ok"), ["ok"]);
        assert!(pieces(&"x".repeat(101)).is_empty());
        assert!(pieces("[CLS]").iter().all(|piece| *piece != "[CLS]"));
    }

    #[test]
    fn no_piece_of_the_vocabulary_is_longer_than_what_is_looked_up() {
        let longest = include_str!("../data/vocabulary.txt").lines().map(|line| line.chars().count()).max();
        assert_eq!(longest, Some(LONGEST_PIECE));
    }

    proptest! {
        #[test]
        fn any_text_can_be_cut(text in any::<String>()) {
            prop_assert!(token_ids(&text).len() <= fold::canonical(&text).chars().count() * 3);
        }
    }
}
