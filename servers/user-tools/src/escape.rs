//! Values as text for the place in which they stand.

use crate::template::{Piece, Template, given, plain};
use serde_json::{Map, Value};

/// Everything but letters, digits and `-._~` as `%XX`.
pub(crate) fn percent(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push('%');
            for digit in [byte >> 4, byte & 15] {
                escaped.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
            }
        }
    }
    escaped
}

/// Text within a JSON string, without the quotes around it.
fn json_text(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// Text between XML tags, or within the quotes of an attribute.
fn xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\t' | '\n' | '\r' => escaped.push(letter),
            // XML 1.0 has no way to write these.
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            _ => escaped.push(letter),
        }
    }
    escaped
}

/// What a body is, which decides how its arguments are escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Json,
    Form,
    Xml,
    Plain,
}

impl Kind {
    /// The kind that a content type names; `None` when its escapes are not known.
    pub(crate) fn of(content_type: &str) -> Option<Self> {
        let name = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match name.as_str() {
            "application/x-www-form-urlencoded" => Some(Self::Form),
            "text/plain" => Some(Self::Plain),
            _ if name.ends_with("/json") || name.ends_with("+json") => Some(Self::Json),
            _ if name.ends_with("/xml") || name.ends_with("+xml") => Some(Self::Xml),
            _ => None,
        }
    }
}

/// A body whose placeholders know their places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Body {
    pieces: Vec<Placed>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Placed {
    Text(String),
    Argument(String, Place),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// As a JSON value.
    JsonValue,
    /// Within a JSON string.
    JsonText,
    Form,
    Xml,
    Plain,
}

impl Place {
    fn write(self, value: &Value) -> String {
        match self {
            Self::JsonValue => value.to_string(),
            Self::JsonText => json_text(&plain(value)),
            Self::Form => percent(&plain(value)),
            Self::Xml => xml(&plain(value)),
            Self::Plain => plain(value),
        }
    }
}

impl Body {
    /// Finds the place of each placeholder.
    pub(crate) fn new(template: &Template, kind: Kind) -> Result<Self, String> {
        if let Some(name) = template.variables().next() {
            return Err(format!("{{{{env.{name}}}}} may stand in headers and query only"));
        }
        let mut within = Within::default();
        let mut pieces = Vec::new();
        for piece in &template.0 {
            match piece {
                Piece::Text(text) => {
                    within.read(text, kind);
                    pieces.push(Placed::Text(text.clone()));
                }
                Piece::Argument(name) | Piece::Environment(name) => {
                    pieces.push(Placed::Argument(name.clone(), within.place(kind, name)?));
                }
            }
        }
        let body = Self { pieces };
        if kind == Kind::Json {
            // One argument of each kind that can stand in its place; x is no escape in JSON.
            let sample = body.write(|place, _| match place {
                Place::JsonText => "x".to_owned(),
                _ => "null".to_owned(),
            });
            serde_json::from_str::<Value>(&sample)
                .map_err(|error| format!("the body is no JSON once arguments are filled in: {error}"))?;
        }
        Ok(body)
    }

    /// The body with these arguments. An absent one is null where a JSON value stands, else empty.
    pub(crate) fn fill(&self, arguments: &Map<String, Value>) -> String {
        self.write(|place, name| match (given(arguments, name), place) {
            (Some(value), place) => place.write(value),
            (None, Place::JsonValue) => "null".to_owned(),
            (None, _) => String::new(),
        })
    }

    fn write(&self, argument: impl Fn(Place, &str) -> String) -> String {
        self.pieces.iter().fold(String::new(), |text, piece| {
            text + &match piece {
                Placed::Text(text) => text.clone(),
                Placed::Argument(name, place) => argument(*place, name),
            }
        })
    }
}

/// Where in a document a text has led to: enough of a state to know the place of what follows.
#[derive(Debug, Default)]
struct Within {
    quote: Option<char>,
    escaped: bool,
    tag: bool,
}

impl Within {
    fn read(&mut self, text: &str, kind: Kind) {
        for letter in text.chars() {
            match kind {
                Kind::Json => match letter {
                    _ if self.escaped => self.escaped = false,
                    '\\' if self.quote.is_some() => self.escaped = true,
                    '"' if self.quote.is_some() => self.quote = None,
                    '"' => self.quote = Some('"'),
                    _ => {}
                },
                Kind::Xml => match letter {
                    _ if self.quote == Some(letter) => self.quote = None,
                    _ if self.quote.is_some() => {}
                    '"' | '\'' if self.tag => self.quote = Some(letter),
                    '<' => self.tag = true,
                    '>' => self.tag = false,
                    _ => {}
                },
                Kind::Form | Kind::Plain => {}
            }
        }
    }

    fn place(&self, kind: Kind, name: &str) -> Result<Place, String> {
        match kind {
            Kind::Json if self.escaped => Err(format!("{{{{{name}}}}} stands behind a backslash")),
            Kind::Json if self.quote.is_some() => Ok(Place::JsonText),
            Kind::Json => Ok(Place::JsonValue),
            Kind::Xml if self.tag && self.quote.is_none() => Err(format!(
                "{{{{{name}}}}} stands in a tag, where nothing can be escaped; move it into text or quotes"
            )),
            Kind::Xml => Ok(Place::Xml),
            Kind::Form => Ok(Place::Form),
            Kind::Plain => Ok(Place::Plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn body(text: &str, content_type: &str) -> Result<Body, String> {
        Body::new(&Template::parse(text)?, Kind::of(content_type).expect("known"))
    }

    fn filled(text: &str, content_type: &str, arguments: Value) -> String {
        let Value::Object(arguments) = arguments else { panic!("no object") };
        body(text, content_type).expect("a body").fill(&arguments)
    }

    #[test]
    fn an_argument_is_escaped_for_its_place() {
        let arguments = json!({"a": "x\"<&'\n", "n": 3, "l": [1, "b"]});
        for (content_type, text, expected) in [
            (
                "application/json",
                r#"{"t":"- {{a}} {{n}}","n":{{n}},"l":{{l}},"s":{{a}},"o":{{no}}}"#,
                r#"{"t":"- x\"<&'\n 3","n":3,"l":[1,"b"],"s":"x\"<&'\n","o":null}"#,
            ),
            (
                "application/x-www-form-urlencoded",
                "a={{a}}&l={{l}}&o={{no}}",
                "a=x%22%3C%26%27%0A&l=%5B1%2C%22b%22%5D&o=",
            ),
            ("application/soap+xml", "<a b='{{a}}'>{{n}}</a>", "<a b='x&quot;&lt;&amp;&#39;\n'>3</a>"),
            ("text/plain; charset=utf-8", "{{a}}|{{n}}", "x\"<&'\n|3"),
        ] {
            assert_eq!(filled(text, content_type, arguments.clone()), expected);
        }
    }

    #[test]
    fn a_place_that_cannot_be_escaped_is_refused() {
        for (content_type, text, expected) in [
            ("application/json", r#"{"a": "\{{x}}"}"#, "behind a backslash"),
            ("application/json", r#"{"a": "\u00{{x}}"}"#, "no JSON"),
            ("application/json", r#"{"a": {{x}}"#, "no JSON"),
            ("application/json", r#"{"a": 1{{x}}}"#, "no JSON"),
            ("text/xml", "<a {{x}}=\"1\"/>", "in a tag"),
            ("text/plain", "{{env.KEY}}", "headers and query only"),
        ] {
            let error = body(text, content_type).expect_err(text);
            assert!(error.contains(expected), "{error}");
        }
        assert_eq!(Kind::of("application/octet-stream"), None);
    }

    proptest! {
        #[test]
        fn no_text_leaves_its_place_in_json(text in any::<String>()) {
            let json = filled(r#"{"a":"<{{x}}>","b":{{x}}}"#, "application/json", json!({"x": text}));
            let read: Value = serde_json::from_str(&json).expect("still JSON");
            prop_assert_eq!(read, json!({"a": format!("<{text}>"), "b": text}));
        }

        #[test]
        fn no_text_leaves_its_place_in_a_form(text in any::<String>()) {
            let form = filled("a={{x}}&b=1", "application/x-www-form-urlencoded", json!({"x": text}));
            let read: Vec<_> = url::form_urlencoded::parse(form.as_bytes()).into_owned().collect();
            prop_assert_eq!(read, [("a".to_owned(), text), ("b".to_owned(), "1".to_owned())]);
        }

        #[test]
        fn no_text_opens_or_ends_a_tag(text in any::<String>()) {
            let xml = filled("<a b=\"{{x}}\">{{x}}</a>", "text/xml", json!({"x": text}));
            prop_assert_eq!(xml.matches(['<', '>', '"']).count(), 6);
        }
    }
}
