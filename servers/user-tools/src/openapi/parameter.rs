//! Parameters of operations: which argument they take, and how its value is written.

use crate::escape::percent;
use crate::template::plain;
use serde_json::{Map, Value};

/// Where a parameter is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Path,
    Query,
    Header,
}

/// A parameter of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parameter {
    /// The argument that it takes.
    pub(super) argument: String,
    /// Its name in the request.
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) style: Style,
}

/// How a value that is not plain is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// As JSON.
    Json,
    /// `a,b`; an object as `k,v,l,w` or, exploded, `k=v,l=w`.
    Simple { explode: bool },
    /// Exploded: `name=a&name=b`, an object as `k=v&l=w`; else with this between the values.
    Form { explode: bool, between: &'static str },
    /// `name[k]=v`.
    DeepObject,
}

impl Style {
    /// The style that a parameter declares, or that its place has.
    pub(super) fn of(parameter: &Map<String, Value>, place: Place) -> Result<Self, String> {
        if parameter.contains_key("content") {
            return Ok(Self::Json);
        }
        let default = if place == Place::Query { "form" } else { "simple" };
        let style = parameter.get("style").and_then(Value::as_str).unwrap_or(default);
        let explode = parameter.get("explode").and_then(Value::as_bool);
        match (style, place) {
            ("simple", Place::Path | Place::Header) => Ok(Self::Simple { explode: explode.unwrap_or(false) }),
            ("form", Place::Query) => Ok(Self::Form { explode: explode.unwrap_or(true), between: "," }),
            ("spaceDelimited", Place::Query) => {
                Ok(Self::Form { explode: explode.unwrap_or(false), between: "%20" })
            }
            ("pipeDelimited", Place::Query) => {
                Ok(Self::Form { explode: explode.unwrap_or(false), between: "|" })
            }
            ("deepObject", Place::Query) => Ok(Self::DeepObject),
            (other, _) => Err(format!("the style {other} is not offered here")),
        }
    }
}

impl Parameter {
    /// The value in a path, escaped for it.
    pub(super) fn in_path(&self, value: &Value) -> String {
        self.joined(value, percent)
    }

    /// The value of a header.
    pub(super) fn in_header(&self, value: &Value) -> String {
        self.joined(value, str::to_owned)
    }

    fn joined(&self, value: &Value, escape: impl Fn(&str) -> String) -> String {
        let explode = matches!(self.style, Style::Simple { explode: true });
        match value {
            _ if self.style == Style::Json => escape(&value.to_string()),
            Value::Array(items) => {
                items.iter().map(|item| escape(&plain(item))).collect::<Vec<_>>().join(",")
            }
            Value::Object(fields) => fields
                .iter()
                .map(|(name, value)| {
                    let between = if explode { "=" } else { "," };
                    format!("{}{between}{}", escape(name), escape(&plain(value)))
                })
                .collect::<Vec<_>>()
                .join(","),
            other => escape(&plain(other)),
        }
    }

    /// The value as parts of a query, escaped for it.
    pub(super) fn in_query(&self, value: &Value) -> Vec<String> {
        let name = percent(&self.name);
        let pair = |name: &str, value: &Value| format!("{name}={}", percent(&plain(value)));
        match (self.style, value) {
            (Style::Json, value) => vec![format!("{name}={}", percent(&value.to_string()))],
            (Style::Form { explode: true, .. }, Value::Array(items)) => {
                items.iter().map(|item| pair(&name, item)).collect()
            }
            (Style::Form { explode: true, .. }, Value::Object(fields)) => {
                fields.iter().map(|(key, value)| pair(&percent(key), value)).collect()
            }
            (Style::DeepObject, Value::Object(fields)) => {
                fields.iter().map(|(key, value)| pair(&format!("{name}[{}]", percent(key)), value)).collect()
            }
            (Style::Form { between, .. }, Value::Array(items)) => {
                let items: Vec<String> = items.iter().map(|item| percent(&plain(item))).collect();
                vec![format!("{name}={}", items.join(between))]
            }
            (Style::Form { between, .. }, Value::Object(fields)) => {
                let parts: Vec<String> =
                    fields.iter().flat_map(|(key, value)| [percent(key), percent(&plain(value))]).collect();
                vec![format!("{name}={}", parts.join(between))]
            }
            (_, value) => vec![pair(&name, value)],
        }
    }
}
