//! Schemas of a document as JSON Schema 2020-12, which tools declare: references to components become
//! references to `$defs`, and what OpenAPI 3.0 writes in its own way is written in JSON Schema's.

use super::document::Document;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Schemas that others refer to, collected while those are read.
pub(super) struct Definitions<'a> {
    document: &'a Document,
    /// The name under `$defs` of each reference.
    names: BTreeMap<String, String>,
    read: Map<String, Value>,
}

/// Fields that say nothing about a value.
const ASIDE: [&str; 7] =
    ["discriminator", "example", "examples", "externalDocs", "readOnly", "writeOnly", "xml"];

impl<'a> Definitions<'a> {
    pub(super) fn new(document: &'a Document) -> Self {
        Self { document, names: BTreeMap::new(), read: Map::new() }
    }

    /// All that was referred to.
    pub(super) fn into_inner(self) -> Map<String, Value> {
        self.read
    }

    /// A schema in JSON Schema's words.
    pub(super) fn convert(&mut self, schema: &Value) -> Result<Value, String> {
        let Value::Object(schema) = schema else {
            return match schema {
                Value::Bool(_) => Ok(schema.clone()),
                _ => Err(format!("{schema} is no schema")),
            };
        };
        if let Some(reference) = schema.get("$ref") {
            let reference = reference.as_str().ok_or("a $ref is no text")?;
            let referred = self.refer(reference)?;
            // OpenAPI 3.0 ignores what stands beside a reference.
            if self.document.is_3_0 || schema.len() == 1 {
                return Ok(referred);
            }
        }
        let mut converted = Map::new();
        for (key, value) in schema {
            match key.as_str() {
                "$ref" => {
                    let referred = self.refer(value.as_str().unwrap_or_default())?;
                    converted.insert("$ref".into(), referred["$ref"].clone());
                }
                "nullable" if self.document.is_3_0 => {}
                key if ASIDE.contains(&key) || key.starts_with("x-") => {}
                "properties" | "patternProperties" | "dependentSchemas" | "$defs" => {
                    converted.insert(key.clone(), self.each(value)?);
                }
                "items"
                | "additionalProperties"
                | "not"
                | "if"
                | "then"
                | "else"
                | "contains"
                | "propertyNames"
                | "unevaluatedItems"
                | "unevaluatedProperties" => {
                    converted.insert(key.clone(), self.convert(value)?);
                }
                "allOf" | "anyOf" | "oneOf" | "prefixItems" => {
                    let items = value.as_array().ok_or_else(|| format!("{key} is no list"))?;
                    let items = items.iter().map(|item| self.convert(item)).collect::<Result<_, _>>()?;
                    converted.insert(key.clone(), Value::Array(items));
                }
                _ => {
                    converted.insert(key.clone(), value.clone());
                }
            }
        }
        self.leave_out_answers(schema, &mut converted);
        if self.document.is_3_0 {
            exclusive_bounds(&mut converted);
            if schema.get("nullable") == Some(&Value::Bool(true)) {
                return Ok(nullable(converted));
            }
        }
        Ok(Value::Object(converted))
    }

    fn each(&mut self, schemas: &Value) -> Result<Value, String> {
        let schemas = schemas.as_object().ok_or("properties are no object")?;
        let converted: Result<Map<String, Value>, String> = schemas
            .iter()
            .map(|(name, schema)| {
                let schema = self.convert(schema).map_err(|error| format!("{name}: {error}"))?;
                Ok((name.clone(), schema))
            })
            .collect();
        Ok(Value::Object(converted?))
    }

    /// A reference to a definition, which is read when it is met first.
    fn refer(&mut self, reference: &str) -> Result<Value, String> {
        if !self.names.contains_key(reference) {
            let target = self.document.target(reference)?;
            let last = reference.rsplit('/').next().unwrap_or_default();
            let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
            let mut name: String = last.chars().map(plain).collect();
            while self.names.values().any(|taken| *taken == name) {
                name.push('_');
            }
            // Before it is read, since it may refer to itself.
            self.names.insert(reference.to_owned(), name.clone());
            let definition = self.convert(target)?;
            self.read.insert(name, definition);
        }
        Ok(json!({ "$ref": format!("#/$defs/{}", self.names[reference]) }))
    }

    /// Takes out what only answers hold: `readOnly` properties must not be sent.
    fn leave_out_answers(&self, schema: &Map<String, Value>, converted: &mut Map<String, Value>) {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
        let read_only = |schema: &Value| {
            let schema = self.document.resolve(schema).unwrap_or(schema);
            schema.get("readOnly") == Some(&Value::Bool(true))
        };
        for (name, _) in properties.iter().filter(|(_, schema)| read_only(schema)) {
            if let Some(Value::Object(kept)) = converted.get_mut("properties") {
                kept.shift_remove(name);
            }
            if let Some(Value::Array(required)) = converted.get_mut("required") {
                required.retain(|required| required != name);
            }
        }
    }
}

/// `minimum: 1, exclusiveMinimum: true` as `exclusiveMinimum: 1`.
fn exclusive_bounds(schema: &mut Map<String, Value>) {
    for (bound, exclusive) in [("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")] {
        if let Some(Value::Bool(is_exclusive)) = schema.get(exclusive).cloned() {
            schema.shift_remove(exclusive);
            if is_exclusive && let Some(value) = schema.shift_remove(bound) {
                schema.insert(exclusive.to_owned(), value);
            }
        }
    }
}

fn nullable(mut schema: Map<String, Value>) -> Value {
    match schema.get("type") {
        Some(Value::String(kind)) => {
            schema.insert("type".into(), json!([kind, "null"]));
            if let Some(Value::Array(values)) = schema.get_mut("enum")
                && !values.contains(&Value::Null)
            {
                values.push(Value::Null);
            }
            Value::Object(schema)
        }
        _ => json!({"anyOf": [schema, {"type": "null"}]}),
    }
}
