//! The arguments that a tool declares, by a JSON Schema.

use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// A checked schema of a tool's arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    schema: Map<String, Value>,
}

impl Arguments {
    /// Checks a schema; none means no arguments.
    ///
    /// # Errors
    /// Says what is wrong in it.
    pub fn new(schema: Option<&Map<String, Value>>) -> Result<Self, String> {
        let mut schema = schema.cloned().unwrap_or_default();
        let object = Value::from("object");
        if schema.entry("type").or_insert_with(|| object.clone()) != &object {
            return Err("inputSchema: its type should be object, since arguments have names".into());
        }
        let properties = schema.entry("properties").or_insert_with(|| json!({}));
        if !properties.is_object() {
            return Err("inputSchema: properties should be an object of schemas by name".into());
        }
        // An argument that nobody declared is a typing error, and should be told.
        schema.entry("additionalProperties").or_insert(Value::Bool(false));
        let arguments = Self { schema };
        let value = Value::Object(arguments.schema.clone());
        jsonschema::meta::validate(&value)
            .map_err(|error| format!("inputSchema{}: {error}", error.instance_path()))?;
        jsonschema::validator_for(&value).map_err(|error| format!("inputSchema: {error}"))?;
        if let Some(name) = arguments.required().find(|name| arguments.property(name).is_none()) {
            return Err(format!("inputSchema: {name:?} is required, but not among the properties"));
        }
        Ok(arguments)
    }

    /// The schema, with what was left out filled in.
    pub const fn schema(&self) -> &Map<String, Value> {
        &self.schema
    }

    fn property(&self, name: &str) -> Option<&Value> {
        self.schema.get("properties").and_then(|properties| properties.get(name))
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let properties = self.schema.get("properties").and_then(Value::as_object);
        properties.into_iter().flatten().map(|(name, _)| name.as_str())
    }

    fn required(&self) -> impl Iterator<Item = &str> {
        self.schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }

    /// Whether an argument is declared.
    pub(crate) fn knows(&self, name: &str) -> Result<(), String> {
        if self.property(name).is_some() {
            return Ok(());
        }
        let near = nearest(name, self.names());
        let near = near.map_or_else(
            || "declare it in inputSchema.properties".to_owned(),
            |near| format!("did you mean {near}?"),
        );
        Err(format!("there is no argument {name:?}; {near}"))
    }

    /// Whether an argument always has a value.
    pub(crate) fn needs(&self, name: &str) -> Result<(), String> {
        self.knows(name)?;
        let has_default = self.property(name).is_some_and(|schema| schema.get("default").is_some());
        if has_default || self.required().any(|required| required == name) {
            return Ok(());
        }
        Err(format!(
            "{name} is optional, but the address' path needs it; make it required, or give it a default"
        ))
    }

    /// Whether each declared argument is used.
    pub(crate) fn are_used<'a>(&self, used: impl Iterator<Item = &'a str>) -> Result<(), String> {
        let used: BTreeSet<&str> = used.collect();
        match self.names().find(|name| !used.contains(name)) {
            Some(name) => Err(format!("the argument {name:?} is declared, but no placeholder uses it")),
            None => Ok(()),
        }
    }
}

/// Puts the defaults of a schema's properties where no argument was given.
pub fn with_defaults(schema: &Map<String, Value>, arguments: &mut Map<String, Value>) {
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, property) in properties.into_iter().flatten() {
        if let Some(default) = property.get("default")
            && !arguments.contains_key(name)
        {
            arguments.insert(name.clone(), default.clone());
        }
    }
}

/// The name that differs from this one by a letter or two.
fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names
        .map(|other| (strsim::levenshtein(name, other), other))
        .filter(|(distance, other)| *distance <= 2 && *distance < other.chars().count())
        .min()
        .map(|(_, other)| other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::needless_pass_by_value, reason = "json! makes values")]
    fn new(schema: Value) -> Result<Arguments, String> {
        Arguments::new(schema.as_object())
    }

    #[test]
    fn what_was_left_out_is_filled_in() {
        let none = Arguments::new(None).expect("no arguments");
        assert_eq!(
            Value::Object(none.schema().clone()),
            json!({"type": "object", "properties": {}, "additionalProperties": false})
        );
        let open = new(json!({"properties": {"a": {}}, "additionalProperties": true})).expect("open");
        assert_eq!(open.schema()["additionalProperties"], true);
    }

    #[test]
    fn a_schema_that_cannot_be_used_is_refused_with_the_reason() {
        for (schema, expected) in [
            (json!({"type": "string"}), "its type should be object"),
            (json!({"properties": []}), "properties should be an object"),
            (json!({"properties": {"a": {"type": "text"}}}), "inputSchema/properties/a/type"),
            (json!({"properties": {"a": {"minimum": "1"}}}), "inputSchema/properties/a/minimum"),
            (json!({"properties": {"a": {"pattern": "("}}}), "inputSchema"),
            (json!({"properties": {"a": {"$ref": "#/$defs/b"}}}), "inputSchema"),
            (json!({"properties": {"a": {"$ref": "https://example.com/schema.json"}}}), "inputSchema"),
            (json!({"required": ["a"]}), "\"a\" is required, but not among the properties"),
        ] {
            let error = new(schema.clone()).expect_err(expected);
            assert!(error.contains(expected), "{schema}: {error}");
        }
    }

    #[test]
    fn defaults_fill_what_is_absent() {
        let schema = json!({"properties": {"a": {"default": 1}, "b": {"default": 2}, "c": {}}});
        let mut given = json!({"a": 5}).as_object().cloned().expect("an object");
        with_defaults(schema.as_object().expect("an object"), &mut given);
        assert_eq!(Value::Object(given), json!({"a": 5, "b": 2}));
    }

    #[test]
    fn near_names_are_told() {
        assert_eq!(nearest("idd", ["name", "id"].into_iter()), Some("id"));
        assert_eq!(nearest("x", ["a", "b"].into_iter()), None);
    }
}
