//! SQL into tokens. What cannot be told for certain is refused.

use crate::template::{Piece, placeholder};

/// Whose SQL it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite's.
    Sqlite,
    /// PostgreSQL's.
    Postgres,
}

/// A piece of a statement. Spaces and comments are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Token {
    /// Whether it is a string that begins with this letter: a quote, or the E of one with backslashes.
    fn is_text_by(&self, first: char, text: &str) -> bool {
        self.kind == Kind::Text && text[self.start..].starts_with([first, first.to_ascii_uppercase()])
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A keyword or a name, in lower case.
    Word(String),
    /// A name in quotes, without them.
    QuotedName(String),
    /// A string.
    Text,
    /// `$1`, `?`, `?1`, `:name`, `@name`: what is bound by place or by a name of the database's own.
    Parameter,
    /// `{{name}}`.
    Placeholder(String),
    /// Anything else, a letter at a time.
    Sign(char),
}

/// Reads a text; placeholders are known only in templates.
pub(super) fn scan(text: &str, dialect: Dialect, template: bool) -> Result<Vec<Token>, String> {
    if let Some(place) = text.find('\0') {
        return Err(format!("there is a NUL character at byte {place}"));
    }
    let mut scanner = Scanner { text, dialect, place: 0 };
    let mut tokens = Vec::new();
    while let Some(letter) = scanner.peek() {
        let start = scanner.place;
        if let Some(kind) = scanner.next(letter, template)? {
            let token = Token { kind, start, end: scanner.place };
            // PostgreSQL may take it for the rest of the string before it, backslashes and all.
            if token.is_text_by('\'', text)
                && tokens.last().is_some_and(|last: &Token| last.is_text_by('e', text))
            {
                return Err(format!(
                    "the string at byte {start} goes on with the one before it: write them as one"
                ));
            }
            tokens.push(token);
        }
    }
    Ok(tokens)
}

struct Scanner<'a> {
    text: &'a str,
    dialect: Dialect,
    place: usize,
}

impl<'a> Scanner<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.place..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Reads what begins with this letter; nothing comes of spaces and comments.
    fn next(&mut self, letter: char, template: bool) -> Result<Option<Kind>, String> {
        let postgres = self.dialect == Dialect::Postgres;
        let rest = self.rest();
        let kind = match letter {
            _ if letter.is_whitespace() => {
                self.place += letter.len_utf8();
                return Ok(None);
            }
            '-' if rest.starts_with("--") => {
                // Where PostgreSQL begins to read again, SQLite does not.
                let end = if postgres { &['\n', '\r'][..] } else { &['\n'] };
                self.place += rest.find(end).unwrap_or(rest.len());
                return Ok(None);
            }
            '/' if rest.starts_with("/*") => {
                self.comment()?;
                return Ok(None);
            }
            '{' if template && rest.starts_with("{{") => match placeholder(rest)? {
                (Piece::Argument(name), length) => {
                    self.place += length;
                    Kind::Placeholder(name)
                }
                (Piece::Environment(name) | Piece::Text(name), _) => {
                    return Err(format!("{{{{env.{name}}}}} may stand in headers and query only"));
                }
            },
            '\'' => {
                self.quoted('\'', false)?;
                Kind::Text
            }
            '"' => Kind::QuotedName(self.quoted('"', false)?),
            '`' if !postgres => Kind::QuotedName(self.quoted('`', false)?),
            '[' if !postgres => {
                let length = rest.find(']').ok_or_else(|| unended("a name in brackets", self.place))?;
                self.place += length + 1;
                Kind::QuotedName(rest[1..length].to_owned())
            }
            '$' if postgres => self.dollar()?,
            '?' | ':' | '@' | '$' if !postgres => {
                self.place += 1;
                self.name();
                Kind::Parameter
            }
            _ if letter.is_alphabetic() || letter == '_' || !letter.is_ascii() => self.word(postgres)?,
            _ if letter.is_ascii_digit() => {
                // Letters too, as in 1e5 and 0xff: none of them begins a word.
                self.name();
                if self.rest().starts_with('\'') {
                    return Err(format!(
                        "a string right behind a number at byte {}: put a space there",
                        self.place
                    ));
                }
                Kind::Sign('0')
            }
            _ => {
                self.place += letter.len_utf8();
                Kind::Sign(letter)
            }
        };
        Ok(Some(kind))
    }

    /// Passes over letters, digits, `_` and `$`.
    fn name(&mut self) -> &'a str {
        let rest = self.rest();
        let part = |c: char| c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii();
        let length = rest.find(|c: char| !part(c) || c.is_whitespace()).unwrap_or(rest.len());
        self.place += length;
        &rest[..length]
    }

    fn word(&mut self, postgres: bool) -> Result<Kind, String> {
        let start = self.place;
        let word = self.name().to_lowercase();
        let rest = self.rest();
        if postgres && word == "e" && rest.starts_with('\'') {
            self.quoted('\'', true)?;
            return Ok(Kind::Text);
        }
        if postgres && word == "u" && (rest.starts_with("&'") || rest.starts_with("&\"")) {
            return Err(format!("U& at byte {start}: write the letters themselves, without Unicode escapes"));
        }
        Ok(Kind::Word(word))
    }

    /// Reads up to the closing quote; two of them stand for one.
    fn quoted(&mut self, quote: char, backslash: bool) -> Result<String, String> {
        let start = self.place;
        let mut content = String::new();
        let mut letters = self.rest().char_indices().skip(1).peekable();
        while let Some((at, letter)) = letters.next() {
            if letter == '\\' && backslash {
                letters.next();
            } else if letter != quote {
                content.push(letter);
            } else if letters.peek().is_some_and(|(_, next)| *next == quote) {
                content.push(quote);
                letters.next();
            } else {
                self.place += at + 1;
                return Ok(content);
            }
        }
        Err(unended(if quote == '\'' { "a string" } else { "a name in quotes" }, start))
    }

    /// `$1`, or a string between `$tag$` and `$tag$`.
    fn dollar(&mut self) -> Result<Kind, String> {
        let rest = self.rest();
        let length = rest[1..]
            .find(|c: char| !(c.is_alphanumeric() || c == '_' || !c.is_ascii()))
            .map_or(rest.len(), |length| length + 1);
        if !rest[length..].starts_with('$') || rest[1..].starts_with(|c: char| c.is_ascii_digit()) {
            self.place += length;
            return Ok(Kind::Parameter);
        }
        let tag = &rest[..=length];
        let end = rest[tag.len()..].find(tag).ok_or_else(|| unended("a string in dollars", self.place))?;
        self.place += tag.len() + end + tag.len();
        Ok(Kind::Text)
    }

    /// Comments lie within comments in PostgreSQL only.
    fn comment(&mut self) -> Result<(), String> {
        let start = self.place;
        let mut depth = 0;
        while !self.rest().is_empty() {
            let rest = self.rest();
            if rest.starts_with("/*") && (depth == 0 || self.dialect == Dialect::Postgres) {
                depth += 1;
                self.place += 2;
            } else if rest.starts_with("*/") {
                depth -= 1;
                self.place += 2;
                if depth == 0 {
                    return Ok(());
                }
            } else {
                self.place += rest.chars().next().map_or(1, char::len_utf8);
            }
        }
        Err(unended("a comment", start))
    }
}

fn unended(what: &str, start: usize) -> String {
    format!("{what} begins at byte {start} and does not end")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kinds(text: &str, dialect: Dialect) -> Result<Vec<Kind>, String> {
        Ok(scan(text, dialect, true)?.into_iter().map(|token| token.kind).collect())
    }

    fn word(text: &str) -> Kind {
        Kind::Word(text.into())
    }

    #[test]
    fn strings_names_and_comments_are_told_apart() {
        let postgres = |text| kinds(text, Dialect::Postgres).expect("scans");
        let sqlite = |text| kinds(text, Dialect::Sqlite).expect("scans");
        assert_eq!(postgres("a -- ; b\n'it''s;' /* ; /* */ ; */ c"), [word("a"), Kind::Text, word("c")]);
        assert_eq!(sqlite("a /* /* */ c"), [word("a"), word("c")]);
        assert_eq!(postgres("a -- b\rc"), [word("a"), word("c")]);
        assert_eq!(sqlite("a -- b\rc\nd"), [word("a"), word("d")]);
        assert_eq!(postgres("$$;$$ $a$ $$ ; $a$ $1"), [Kind::Text, Kind::Text, Kind::Parameter]);
        assert_eq!(postgres(r"E'\';', 'x\'"), [Kind::Text, Kind::Sign(','), Kind::Text]);
        assert_eq!(postgres("\"A\"\"b\""), [Kind::QuotedName("A\"b".into())]);
        assert_eq!(sqlite("[a;b] `c`"), [Kind::QuotedName("a;b".into()), Kind::QuotedName("c".into())]);
        assert_eq!(sqlite("?1 :a @b $c ?"), vec![Kind::Parameter; 5]);
        assert_eq!(postgres("a::int"), [word("a"), Kind::Sign(':'), Kind::Sign(':'), word("int")]);
        assert_eq!(postgres("{{x}}1e5"), [Kind::Placeholder("x".into()), Kind::Sign('0')]);
    }

    #[test]
    fn what_does_not_end_is_refused() {
        for text in [
            "'a",
            "\"a",
            "/* /* */",
            "$a$ $b$",
            r"E'\'",
            "E'a'\n'\\' || b --'",
            "e'a' -- c\n 'b'",
            r"1E'\', '",
            "U&'\\0041'",
            "u&\"a\"",
            "a\0b",
        ] {
            assert!(kinds(text, Dialect::Postgres).is_err(), "{text}");
        }
        for text in ["'a", "[a", "`a", "/*"] {
            assert!(kinds(text, Dialect::Sqlite).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn tokens_lie_in_order_and_on_letters(
            text in "([a-zé;'\"$/*`\\[\\] \n{}0-9-]|--|/\\*|\\*/|\\$\\$|\\{\\{){0,40}",
            postgres in any::<bool>(),
        ) {
            let dialect = if postgres { Dialect::Postgres } else { Dialect::Sqlite };
            if let Ok(tokens) = scan(&text, dialect, true) {
                let mut end = 0;
                for token in tokens {
                    prop_assert!(token.start >= end && token.end > token.start);
                    prop_assert!(text.is_char_boundary(token.start) && text.is_char_boundary(token.end));
                    end = token.end;
                }
            }
        }
    }
}
