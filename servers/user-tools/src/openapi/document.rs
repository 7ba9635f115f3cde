//! A document as JSON, with its references.

use serde_json::{Map, Value};

/// The most references that lead to one thing.
const MAX_HOPS: usize = 32;

/// A document.
pub(super) struct Document {
    pub(super) root: Value,
    /// Whether its schemas are those of OpenAPI 3.0, which are not quite JSON Schema.
    pub(super) is_3_0: bool,
}

impl Document {
    /// Reads YAML, of which JSON is a part.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let yaml: serde_yaml::Value =
            serde_yaml::from_str(text).map_err(|error| format!("the document is no YAML: {error}"))?;
        let root = json(yaml)?;
        if root.get("swagger").is_some() {
            return Err("this is a Swagger 2.0 document; convert it to OpenAPI 3".into());
        }
        let version = match root.get("openapi") {
            Some(Value::String(version)) => version.clone(),
            Some(other) => other.to_string(),
            None => return Err("this is no OpenAPI document: the field openapi is missing".into()),
        };
        if !version.starts_with("3.") {
            return Err(format!("version {version} of OpenAPI is not offered; write 3.0 or 3.1"));
        }
        Ok(Self { is_3_0: version.starts_with("3.0"), root })
    }

    /// Follows a reference, and what it leads to, until there is none.
    pub(super) fn resolve<'a>(&'a self, value: &'a Value) -> Result<&'a Value, String> {
        let mut value = value;
        for _ in 0..MAX_HOPS {
            match value.get("$ref").and_then(Value::as_str) {
                Some(reference) => value = self.target(reference)?,
                None => return Ok(value),
            }
        }
        Err("a reference leads to itself".into())
    }

    /// What a reference names.
    pub(super) fn target(&self, reference: &str) -> Result<&Value, String> {
        let Some(pointer) = reference.strip_prefix('#') else {
            return Err(format!(
                "the reference {reference:?} leads to another document; put all of it into one"
            ));
        };
        let decoded = percent_decoded(pointer);
        self.root
            .pointer(&decoded)
            .ok_or_else(|| format!("the reference {reference:?} leads to nothing in the document"))
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        let hex = others.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        if let Some(byte) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            bytes.push(byte);
            rest = &others[2..];
        } else {
            bytes.push(*first);
            rest = others;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// YAML as JSON: keys such as the status 200 become text.
fn json(yaml: serde_yaml::Value) -> Result<Value, String> {
    use serde_yaml::Value as Yaml;
    Ok(match yaml {
        Yaml::Null => Value::Null,
        Yaml::Bool(value) => value.into(),
        Yaml::String(text) => text.into(),
        Yaml::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), _, _) => number.into(),
            (_, Some(number), _) => number.into(),
            (_, _, number) => number.map_or(Value::Null, Value::from),
        },
        Yaml::Sequence(items) => Value::Array(items.into_iter().map(json).collect::<Result<_, _>>()?),
        Yaml::Mapping(entries) => {
            let mut object = Map::new();
            for (key, value) in entries {
                let key = match json(key)? {
                    Value::String(key) => key,
                    key @ (Value::Number(_) | Value::Bool(_)) => key.to_string(),
                    key => return Err(format!("{key} cannot be the name of a field")),
                };
                object.insert(key, json(value)?);
            }
            Value::Object(object)
        }
        Yaml::Tagged(tagged) => json(tagged.value)?,
    })
}
