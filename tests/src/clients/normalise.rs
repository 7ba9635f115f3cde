//! Takes out of answers what differs from run to run, so that two runs can be compared: the same file through `up`
//! and on a cluster, or the two SDKs. Pure.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::answers::{Answers, CONNECT};

/// The answers of a client, by step: ids and times are placeholders, and so are the values of the fields named here,
/// which depend on the machine. An id that comes back has the placeholder that it had before.
pub fn normalised(answers: &Answers, machine_dependent: &[&str]) -> Value {
    let mut normaliser = Normaliser { machine_dependent, ids: HashMap::new() };
    let steps = answers.ends().filter(|done| done.step != CONNECT).map(|done| {
        let outcome = match (done.result(), done.refusal()) {
            (Ok(result), _) => json!({"result": normaliser.value(result)}),
            (_, Ok(error)) => {
                json!({"error": {"code": error.code, "message": normaliser.text(&error.message)}})
            }
            (Err(error), _) => json!({"broken": error.to_string()}),
        };
        (done.step.clone(), outcome)
    });
    Value::Object(steps.collect())
}

struct Normaliser<'a> {
    machine_dependent: &'a [&'a str],
    ids: HashMap<String, usize>,
}

impl Normaliser<'_> {
    fn value(&mut self, value: &Value) -> Value {
        match value {
            Value::Object(fields) => self.object(fields),
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Value::String(text) => match embedded(text) {
                Some(inner) => self.value(&inner),
                None => Value::String(self.text(text)),
            },
            // One SDK reads every number as a float.
            Value::Number(number) => number.as_f64().map_or_else(|| value.clone(), |number| json!(number)),
            Value::Null | Value::Bool(_) => value.clone(),
        }
    }

    fn object(&mut self, fields: &Map<String, Value>) -> Value {
        let kept = fields.iter().filter(|(name, value)| !is_default(name, value));
        kept.map(|(name, value)| {
            let machine_dependent = self.machine_dependent.contains(&name.as_str()) && !value.is_null();
            let value = if machine_dependent { json!(format!("<{name}>")) } else { self.value(value) };
            (name.clone(), value)
        })
        .collect::<Map<_, _>>()
        .into()
    }

    /// Puts placeholders for the ids and times in a text.
    fn text(&mut self, text: &str) -> String {
        let mut plain = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            if let Some(id) = rest.get(..ID.len()).filter(|start| fits(start, ID)) {
                let count = self.ids.len() + 1;
                let number = *self.ids.entry(id.to_ascii_lowercase()).or_insert(count);
                plain.extend(["<id ", &number.to_string(), ">"]);
                rest = &rest[ID.len()..];
            } else if let Some(length) = time(rest) {
                plain.push_str("<time>");
                rest = &rest[length..];
            } else {
                plain.push(next);
                rest = &rest[next.len_utf8()..];
            }
        }
        plain
    }
}

/// What one SDK adds and the other leaves out.
fn is_default(name: &str, value: &Value) -> bool {
    match name {
        "isError" => *value == Value::Bool(false),
        "resultType" => value == "complete",
        "$schema" | "_meta" => true,
        _ => value.is_null(),
    }
}

/// JSON within a text, as tools give it to clients that know no structured content.
fn embedded(text: &str) -> Option<Value> {
    let inner = text.starts_with(['{', '[']).then(|| serde_json::from_str(text).ok())?;
    inner.filter(|inner: &Value| inner.is_object() || inner.is_array())
}

/// `x` stands for a hexadecimal digit, `0` for a decimal one.
const ID: &str = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
const TIME: &str = "0000-00-00T00:00:00";

fn fits(text: &str, shape: &str) -> bool {
    text.len() == shape.len()
        && text.bytes().zip(shape.bytes()).all(|(byte, shape)| match shape {
            b'x' => byte.is_ascii_hexdigit(),
            b'0' => byte.is_ascii_digit(),
            exact => byte == exact,
        })
}

/// How long the time is with which a text begins.
fn time(text: &str) -> Option<usize> {
    text.get(..TIME.len()).filter(|start| fits(start, TIME))?;
    let rest = &text[TIME.len()..];
    let fraction =
        rest.strip_prefix('.').map_or(0, |digits| 1 + digits.bytes().take_while(u8::is_ascii_digit).count());
    let zone = &rest[fraction..];
    let zone = match zone.as_bytes().first() {
        Some(b'Z' | b'z') => 1,
        Some(b'+' | b'-') => zone.get(1..6).filter(|offset| fits(offset, "00:00")).map(|_| 6)?,
        _ => return None,
    };
    Some(TIME.len() + fraction + zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(value: &Value) -> Value {
        Normaliser { machine_dependent: &["store_bytes"], ids: HashMap::new() }.value(value)
    }

    #[test]
    fn an_id_keeps_its_placeholder() {
        let (one, two) = ("0193a1b2-0000-7000-8000-00000000000a", "0193a1b2-0000-7000-8000-00000000000b");
        assert_eq!(
            plain(&json!([one, two, format!("no memory {one}!"), one.to_uppercase()])),
            json!(["<id 1>", "<id 2>", "no memory <id 1>!", "<id 1>"])
        );
    }

    #[test]
    fn times_of_every_spelling_are_one() {
        for time in ["2026-11-23T09:00:00Z", "2026-11-23T09:00:00.123456Z", "2026-11-23T09:00:00+01:00"] {
            assert_eq!(plain(&json!(format!("at {time}, ü"))), "at <time>, ü", "{time}");
        }
        for other in ["2026-11-23", "2026-11-23T09:00:00", "x026-11-23T09:00:00Z"] {
            assert_eq!(plain(&json!(other)), *other);
        }
    }

    #[test]
    fn what_sdks_add_and_machines_decide_is_taken_out() {
        let one = json!({"isError": false, "resultType": "complete", "content": [{"text": "{\"a\":1}"}], "store_bytes": 7});
        let two = json!({"content": [{"text": "{\"a\":1.0}"}], "store_bytes": 9, "annotations": null});
        assert_eq!(plain(&one), plain(&two));
        assert_eq!(plain(&one), json!({"content": [{"text": {"a": 1.0}}], "store_bytes": "<store_bytes>"}));
        assert_ne!(plain(&one), plain(&json!({"isError": true, "content": [{"text": "{\"a\":1}"}]})));
    }
}
