//! An `McpSystem` file, read as strictly as a cluster would read it.

use crate::{GROUP, McpSystem, VERSION, crd, schema};
use serde::Deserialize;
use serde_json::Value;
use std::fmt;

/// One thing that is wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands, as `spec.servers.memory.port`; empty for the document as a whole.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl Problem {
    pub(crate) fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}

/// Everything that is wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError(pub Vec<Problem>);

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for FileError {}

/// Reads every `McpSystem` of a YAML text; documents of other kinds are passed over.
///
/// # Errors
/// Tells every problem of the first document that has any.
pub fn read(text: &str) -> Result<Vec<McpSystem>, FileError> {
    let mut systems = Vec::new();
    for document in serde_yaml::Deserializer::from_str(text) {
        let value =
            Value::deserialize(document).map_err(|error| one(format!("this is not YAML: {error}")))?;
        if value.is_null() {
            continue;
        }
        let kind = value.get("kind").and_then(Value::as_str).unwrap_or_default();
        let group = value.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
        if !kind.is_empty() && kind != "McpSystem" && !group.starts_with(GROUP) {
            continue;
        }
        systems.push(system(value)?);
    }
    Ok(systems)
}

/// Reads the one `McpSystem` of a YAML text.
///
/// # Errors
/// Tells every problem, and a text with none or several systems.
pub fn read_one(text: &str) -> Result<McpSystem, FileError> {
    let mut systems = read(text)?;
    match (systems.pop(), systems.len()) {
        (Some(system), 0) => Ok(system),
        (None, _) => Err(one("there is no McpSystem in this file".to_owned())),
        (Some(_), more) => {
            Err(one(format!("there are {} McpSystems in this file; keep one a file", more + 1)))
        }
    }
}

fn one(message: String) -> FileError {
    FileError(vec![Problem::new("", message)])
}

fn system(value: Value) -> Result<McpSystem, FileError> {
    let mut problems = Vec::new();
    for (field, expected) in [("apiVersion", format!("{GROUP}/{VERSION}")), ("kind", "McpSystem".to_owned())]
    {
        match value.get(field).and_then(Value::as_str) {
            Some(found) if found == expected => {}
            Some(found) => problems.push(Problem::new(field, format!("{found:?} should be {expected}"))),
            None => problems.push(Problem::new(field, format!("is missing; write {field}: {expected}"))),
        }
    }
    if value.pointer("/metadata/name").and_then(Value::as_str).is_none_or(str::is_empty) {
        problems.push(Problem::new("metadata.name", "is missing; give the system a name"));
    }
    let schema = open_api_schema();
    schema::unknown_fields(&schema, &value, "", &mut problems);
    if problems.is_empty() {
        schema::limits(&schema, &value, &mut problems);
    }
    if !problems.is_empty() {
        return Err(FileError(problems));
    }
    let system: McpSystem = serde_json::from_value(value).map_err(|error| one(error.to_string()))?;
    // The rules compare defaults too, so they see the value with all of them filled in.
    let whole = serde_json::to_value(&system).map_err(|error| one(error.to_string()))?;
    kube::core::cel::Validator::new().validate(&schema, &whole, None).map_err(|errors| {
        FileError(
            errors
                .iter()
                .map(|error| Problem::new(error.field_path.trim_start_matches('.'), error.message.clone()))
                .collect(),
        )
    })?;
    Ok(system)
}

fn open_api_schema() -> Value {
    let versions = crd().spec.versions;
    let schema = versions.into_iter().next().and_then(|version| version.schema?.open_api_v3_schema);
    let mut schema = serde_json::to_value(schema).unwrap_or_default();
    // Every object has these; a CRD does not spell them out.
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for (name, type_) in [("apiVersion", "string"), ("kind", "string"), ("metadata", "object")] {
            properties.insert(name.to_owned(), serde_json::json!({ "type": type_ }));
        }
    }
    schema
}
