//! Texts with placeholders: `{{name}}` for an argument, `{{env.NAME}}` for an environment variable.

use serde_json::{Map, Value};

/// A parsed template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Template(pub(crate) Vec<Piece>);

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Text as it is.
    Text(String),
    /// An argument.
    Argument(String),
    /// An environment variable.
    Environment(String),
}

const HINT: &str = "write {{name}} for an argument, or {{env.NAME}} for an environment variable";

impl Template {
    /// Parses a text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("{{") {
            if start > 0 {
                pieces.push(Piece::Text(rest[..start].to_owned()));
            }
            let (piece, length) = placeholder(&rest[start..])?;
            pieces.push(piece);
            rest = &rest[start + length..];
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self(pieces))
    }

    /// The arguments that it names, in order.
    pub(crate) fn arguments(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Argument(name) => Some(name.as_str()),
            Piece::Text(_) | Piece::Environment(_) => None,
        })
    }

    /// The environment variables that it names, in order.
    pub(crate) fn variables(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Environment(name) => Some(name.as_str()),
            Piece::Text(_) | Piece::Argument(_) => None,
        })
    }

    /// The argument that is all of it.
    pub(crate) fn only_argument(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Piece::Argument(name)] => Some(name),
            _ => None,
        }
    }

    /// Its text with each argument turned into text by `write`; `None` when an argument is absent.
    pub(crate) fn fill(
        &self,
        arguments: &Map<String, Value>,
        environment: &dyn Fn(&str) -> Option<String>,
        write: impl Fn(&Value) -> String,
    ) -> Result<Option<String>, String> {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Argument(name) => match given(arguments, name) {
                    Some(value) => text.push_str(&write(value)),
                    None => return Ok(None),
                },
                Piece::Environment(name) => text.push_str(
                    &environment(name)
                        .ok_or_else(|| format!("the environment variable {name} is not set"))?,
                ),
            }
        }
        Ok(Some(text))
    }
}

/// The placeholder at the beginning of a text, and how many bytes it takes.
pub(crate) fn placeholder(text: &str) -> Result<(Piece, usize), String> {
    let shown = || text.chars().take(40).collect::<String>();
    let end = text.find("}}").ok_or_else(|| format!("{:?} has no end; {HINT}", shown()))?;
    let name = text[2..end].trim();
    let (name, piece): (&str, fn(String) -> Piece) = match name.strip_prefix("env.") {
        Some(name) => (name, Piece::Environment),
        None => (name, Piece::Argument),
    };
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    let sound = name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit() || c == '-');
    if !sound || name.len() > 128 {
        return Err(format!("{:?} is no placeholder; {HINT}", shown()));
    }
    Ok((piece(name.to_owned()), end + 2))
}

/// An argument that was given; null counts as none.
pub(crate) fn given<'a>(arguments: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    arguments.get(name).filter(|value| !value.is_null())
}

/// A value as plain text: a string is its letters, anything else its JSON.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn placeholders_are_told_from_text() {
        let template = Template::parse("a {{ b }}/{{c-1}} {{env.D}} }} {").expect("parses");
        assert_eq!(template.arguments().collect::<Vec<_>>(), ["b", "c-1"]);
        assert_eq!(template.variables().collect::<Vec<_>>(), ["D"]);
        assert_eq!(Template::parse("{{x}}").expect("parses").only_argument(), Some("x"));
        for text in ["{{", "{{x", "{{}}", "{{a b}}", "{{1}}", "{{env.}}", "{{{a}}}", "x {{a.b}}"] {
            let error = Template::parse(text).expect_err(text);
            assert!(error.contains("write {{name}} for an argument"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused(text in "([{}a-c. é\"]|\\{\\{|\\}\\}){0,40}") {
            if let Ok(template) = Template::parse(&text) {
                let names = template.0.iter().filter(|piece| !matches!(piece, Piece::Text(_))).count();
                prop_assert_eq!(names, text.matches("{{").count());
            }
        }
    }
}
