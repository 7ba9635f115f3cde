//! Schemas of tools as every client takes them.

use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::model::{JsonObject, Tool};
use schemars::Schema;
use schemars::transform::{Transform, transform_subschemas};
use serde_json::Value;
use std::sync::Arc;

/// Drops the formats that name Rust's numbers (`uint32`, `int64`, `double`): JSON Schema knows no such formats, and
/// some clients, the MCP Inspector among them, print a warning for each. Bounds stay.
#[derive(Clone, Copy, Debug)]
pub struct PlainNumbers;

const FORMATS: [&str; 14] = [
    "int8", "int16", "int32", "int64", "int128", "int", "uint8", "uint16", "uint32", "uint64", "uint128",
    "uint", "float", "double",
];

impl Transform for PlainNumbers {
    fn transform(&mut self, schema: &mut Schema) {
        if schema.get("format").and_then(Value::as_str).is_some_and(|format| FORMATS.contains(&format)) {
            schema.remove("format");
        }
        transform_subschemas(self, schema);
    }
}

/// A tool with its schemas made plain.
#[must_use]
pub fn plain(mut tool: Tool) -> Tool {
    tool.input_schema = plain_schema(&tool.input_schema);
    tool.output_schema = tool.output_schema.as_ref().map(plain_schema);
    tool
}

/// A router all of whose tools have plain schemas. Made once, when the router is.
#[must_use]
pub fn plain_router<S: Send + Sync + 'static>(mut router: ToolRouter<S>) -> ToolRouter<S> {
    for route in router.map.values_mut() {
        route.attr = plain(route.attr.clone());
    }
    router
}

fn plain_schema(object: &Arc<JsonObject>) -> Arc<JsonObject> {
    let mut schema = Schema::from((**object).clone());
    PlainNumbers.transform(&mut schema);
    match schema.to_value() {
        Value::Object(object) => Arc::new(object),
        _ => object.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn formats_of_rusts_numbers_go_wherever_they_stand_and_nothing_else_does() {
        let object = |value: Value| value.as_object().cloned().expect("an object");
        let before = object(json!({
            "type": "object",
            "properties": {
                "limit": {"type": ["integer", "null"], "format": "uint32", "minimum": 1},
                "when": {"type": "string", "format": "date-time"},
                "many": {"type": "array", "items": {"type": "number", "format": "double"}},
                "format": {"type": "string"},
                "inner": {"$ref": "#/$defs/Inner"},
            },
            "$defs": {"Inner": {"anyOf": [{"type": "integer", "format": "int64"}, {"type": "null"}]}},
        }));
        let tool = plain(Tool::new("x", "", before));
        assert_eq!(
            Value::Object((*tool.input_schema).clone()),
            json!({
                "type": "object",
                "properties": {
                    "limit": {"type": ["integer", "null"], "minimum": 1},
                    "when": {"type": "string", "format": "date-time"},
                    "many": {"type": "array", "items": {"type": "number"}},
                    "format": {"type": "string"},
                    "inner": {"$ref": "#/$defs/Inner"},
                },
                "$defs": {"Inner": {"anyOf": [{"type": "integer"}, {"type": "null"}]}},
            })
        );
    }
}
