//! OpenAPI 3 documents: each operation becomes a tool.

mod document;
mod operation;
mod parameter;
mod schema;
#[cfg(test)]
mod tests;

use crate::declaration::{Action, Declared, Effect, Given};
use crate::http::Fixed;
use crate::request::base;
use document::Document;
use mcp_system_config::{Method, OpenApiTools, UserTool};
pub use operation::Operation;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

const METHODS: [(&str, Method); 6] = [
    ("get", Method::Get),
    ("head", Method::Head),
    ("post", Method::Post),
    ("put", Method::Put),
    ("patch", Method::Patch),
    ("delete", Method::Delete),
];

/// The most letters of a tool's name: with `execute_` before it, MCP allows no more.
const MAX_NAME: usize = 120;

/// The tools of a document's operations, as far as they are asked for.
pub(crate) fn tools(tool: &UserTool, settings: &OpenApiTools, text: &str) -> Result<Given, String> {
    let document = Document::parse(text)?;
    let fixed = Fixed::new(&settings.query, &settings.headers)?;
    if let Some(name) = fixed.templates().find_map(|template| template.arguments().next()) {
        return Err(format!(
            "{{{{{name}}}}}: the document declares the arguments; only {{{{env.NAME}}}} may stand here"
        ));
    }
    if let Some(server) = &settings.server {
        base(server).map_err(|error| format!("server: {error}"))?;
    }
    let mut given = Given::default();
    let (mut ids, mut tags) = (BTreeSet::new(), BTreeSet::new());
    for found in operations(&document)? {
        let id = found.id();
        let its_tags = found.tags();
        ids.insert(id.clone());
        tags.extend(its_tags.iter().map(|tag| (*tag).to_owned()));
        let chosen = (settings.operations.is_empty() || settings.operations.contains(&id))
            && (settings.tags.is_empty() || settings.tags.iter().any(|tag| its_tags.contains(&tag.as_str())));
        if !chosen {
            continue;
        }
        let name = format!("{}_{}", tool.name, snake(&id));
        let name: String = name.chars().take(MAX_NAME).collect();
        match operation::read(&document, &found, settings, &fixed) {
            Ok((operation, input_schema)) => {
                given.tools.push(declared(tool, name, &found, operation, input_schema));
            }
            Err(problem) => {
                let place = format!("openApi: {} {}", found.method.name(), found.path);
                given.problems.push((name, format!("{place}: {problem}")));
            }
        }
    }
    if let Some(missing) = settings.operations.iter().find(|id| !ids.contains(*id)) {
        return Err(format!("operations: the document has no operation {missing:?}; it has {}", some(&ids)));
    }
    if let Some(missing) = settings.tags.iter().find(|tag| !tags.contains(*tag)) {
        return Err(format!("tags: the document has no tag {missing:?}; it has {}", some(&tags)));
    }
    if given.tools.is_empty() && given.problems.is_empty() {
        return Err("the document has no operation that would become a tool".into());
    }
    Ok(given)
}

/// Some of these names, for a message.
fn some(names: &BTreeSet<String>) -> String {
    let mut told: Vec<&str> = names.iter().take(10).map(String::as_str).collect();
    match names.len() {
        0 => return "none".to_owned(),
        1..=10 => {}
        _ => told.push("..."),
    }
    told.join(", ")
}

/// An operation as it stands in a document.
struct Found<'a> {
    method: Method,
    path: &'a str,
    /// What the path says for all its operations.
    item: &'a Map<String, Value>,
    operation: &'a Map<String, Value>,
}

impl Found<'_> {
    fn text(&self, field: &str) -> Option<&str> {
        let text = self.operation.get(field).or_else(|| self.item.get(field));
        text.and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty())
    }

    /// Its `operationId`; without one, its method and path.
    fn id(&self) -> String {
        let id = self.operation.get("operationId").and_then(Value::as_str).filter(|id| !snake(id).is_empty());
        id.map_or_else(
            || format!("{}_{}", self.method.name().to_lowercase(), snake(self.path)),
            str::to_owned,
        )
    }

    fn tags(&self) -> Vec<&str> {
        let tags = self.operation.get("tags").and_then(Value::as_array);
        tags.into_iter().flatten().filter_map(Value::as_str).collect()
    }
}

fn operations(document: &Document) -> Result<Vec<Found<'_>>, String> {
    let paths = document.root.get("paths").and_then(Value::as_object).ok_or("paths are missing")?;
    let mut found = Vec::new();
    for (path, item) in paths {
        let item = document.resolve(item).map_err(|error| format!("{path}: {error}"))?;
        let item = item.as_object().ok_or_else(|| format!("{path}: is no object"))?;
        for (name, method) in METHODS {
            if let Some(operation) = item.get(name) {
                let operation =
                    operation.as_object().ok_or_else(|| format!("{path}: {name} is no object"))?;
                found.push(Found { method, path, item, operation });
            }
        }
    }
    Ok(found)
}

fn declared(
    tool: &UserTool,
    name: String,
    found: &Found<'_>,
    operation: Operation,
    input_schema: Map<String, Value>,
) -> Declared {
    let words = [found.text("summary"), found.text("description")];
    let mut description: Vec<&str> = words.into_iter().flatten().collect();
    description.dedup();
    let what = format!("{} {}", found.method.name(), found.path);
    let description = if description.is_empty() { what } else { description.join(". ").replace("..", ".") };
    let keywords = tool.keywords.iter().cloned().chain(found.tags().into_iter().map(str::to_owned));
    Declared {
        title: found.text("summary").map_or_else(|| found.id(), str::to_owned),
        description: match tool.description.trim() {
            "" => description,
            about => format!("{description} ({about})"),
        },
        category: tool.category.clone(),
        keywords: keywords.collect(),
        effect: Effect::of(found.method, tool.read_only),
        input_schema,
        action: Action::Operation(operation),
        name,
    }
}

/// `listPets` and `/pets/{id}` as `list_pets` and `pets_id`.
fn snake(text: &str) -> String {
    let mut snake = String::new();
    let mut before = ' ';
    for letter in text.chars() {
        if letter.is_ascii_alphanumeric() {
            if letter.is_ascii_uppercase() && (before.is_ascii_lowercase() || before.is_ascii_digit()) {
                snake.push('_');
            }
            snake.push(letter.to_ascii_lowercase());
        } else if !snake.ends_with('_') {
            snake.push('_');
        }
        before = letter;
    }
    snake.trim_matches('_').to_owned()
}
