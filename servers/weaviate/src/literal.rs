//! Values as GraphQL writes them.

use std::fmt::{self, Write};

/// A value in a query. Its form is fixed by this type; what a caller gave stands only in numbers and quoted texts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal {
    Text(String),
    Integer(i64),
    Number(f64),
    Boolean(bool),
    /// An enum's value.
    Word(&'static str),
    List(Vec<Literal>),
    /// Field names are written as they are: only names of this crate or of the schema may stand here.
    Object(Vec<(String, Literal)>),
}

impl Literal {
    pub(crate) fn texts(texts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::List(texts.into_iter().map(|text| Self::Text(text.into())).collect())
    }

    pub(crate) fn vector(vector: &[f32]) -> Self {
        // By way of its shortest decimal: 0.1 stays 0.1.
        let number =
            |value: &f32| Self::Number(value.to_string().parse().unwrap_or_else(|_| f64::from(*value)));
        Self::List(vector.iter().map(number).collect())
    }

    /// An object without what is not there.
    pub(crate) fn object<const N: usize>(fields: [(&str, Option<Self>); N]) -> Self {
        let present = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Self::Object(present.collect())
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write_text(f, text),
            Self::Integer(number) => write!(f, "{number}"),
            // GraphQL knows neither; callers refuse them, and a zero cannot break a query.
            Self::Number(number) if !number.is_finite() => f.write_str("0"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Word(word) => f.write_str(word),
            Self::List(items) => {
                f.write_char('[')?;
                for (place, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if place == 0 { "" } else { ", " })?;
                }
                f.write_char(']')
            }
            Self::Object(_) => write!(f, "{{{}}}", Arguments(self)),
        }
    }
}

/// An object's fields without its braces: the arguments of a field.
pub(crate) struct Arguments<'a>(pub(crate) &'a Literal);

impl fmt::Display for Arguments<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Literal::Object(fields) = self.0 else { return Ok(()) };
        for (place, (name, value)) in fields.iter().enumerate() {
            write!(f, "{}{name}: {value}", if place == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// Quotes a text. What is no plain character is escaped by its number, as GraphQL and JSON both have it.
fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for character in text.chars() {
        match character {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            character if character.is_control() => write!(f, "\\u{:04x}", u32::from(character))?,
            character => f.write_char(character)?,
        }
    }
    f.write_char('"')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_written_as_graphql_has_them() {
        let value = Literal::object([
            ("query", Some(Literal::Text("a \"b\"\n\u{1}".into()))),
            ("alpha", Some(Literal::Number(0.5))),
            ("none", None),
            ("fusionType", Some(Literal::Word("rankedFusion"))),
            ("vector", Some(Literal::vector(&[0.1, -2.0, 1e-8]))),
        ]);
        assert_eq!(
            value.to_string(),
            r#"{query: "a \"b\"\n\u0001", alpha: 0.5, fusionType: rankedFusion, vector: [0.1, -2, 0.00000001]}"#
        );
    }

    proptest! {
        /// A quoted text reads back as itself and ends at its own closing quote, whatever it holds: JSON's
        /// rules for texts are GraphQL's.
        #[test]
        fn a_text_never_ends_early(text in any::<String>()) {
            let written = Literal::Text(text.clone()).to_string();
            prop_assert_eq!(serde_json::from_str::<String>(&written).expect("one JSON text"), text);
            prop_assert!(!written.contains(['\n', '\r']));
        }

        #[test]
        fn a_number_reads_back_as_itself(number in any::<f64>().prop_filter("finite", |number| number.is_finite())) {
            let written = Literal::Number(number).to_string();
            prop_assert_eq!(written.parse::<f64>().expect("a number").to_bits(), number.to_bits());
            prop_assert!(!written.contains(['e', 'E', '+']));
        }
    }
}
