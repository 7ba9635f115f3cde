//! The tools that are listed, and the answers of those that need neither the client nor the time.

use crate::resources::complete;
use crate::{PICTURE, SOUND};
use rmcp::model::{CallToolResult, ErrorData, JsonObject, Tool};
use serde_json::{Value, json};

/// Tools without arguments, and what each shows.
const WITHOUT_ARGUMENTS: [(&str, &str); 23] = [
    ("test_simple_text", "Answers with text."),
    ("test_image_content", "Answers with a picture."),
    ("test_audio_content", "Answers with a sound."),
    ("test_embedded_resource", "Answers with a resource."),
    ("test_multiple_content_types", "Answers with text, a picture and a resource."),
    ("test_error_handling", "Fails."),
    ("test_tool_with_logging", "Logs three times."),
    ("test_tool_with_progress", "Tells three times how far it is."),
    ("test_logging_tool", "Logs where the request asks for it."),
    ("test_streaming_elicitation", "Tells how far it is, then asks."),
    ("test_missing_capability", "Needs a client that can sample."),
    ("test_elicitation_sep1034_defaults", "Asks with defaults."),
    ("test_elicitation_sep1330_enums", "Asks for choices."),
    ("test_trigger_tool_change", "Says that the list of tools has changed."),
    ("test_trigger_prompt_change", "Says that the list of prompts has changed."),
    ("test_input_required_result_elicitation", "Asks for a name."),
    ("test_input_required_result_sampling", "Asks for a text."),
    ("test_input_required_result_list_roots", "Asks for the roots."),
    ("test_input_required_result_request_state", "Asks, with state that comes back."),
    ("test_input_required_result_multiple_inputs", "Asks for three things at once."),
    ("test_input_required_result_multi_round", "Asks twice."),
    ("test_input_required_result_tampered_state", "Asks, with state that must come back whole."),
    ("test_input_required_result_capabilities", "Asks for what the client can give."),
];

/// Every tool.
pub(crate) fn all() -> Vec<Tool> {
    let none = json!({"type": "object", "properties": {}});
    let one =
        |name: &str| json!({"type": "object", "properties": {name: {"type": "string"}}, "required": [name]});
    let plain = WITHOUT_ARGUMENTS.into_iter().map(|(name, shown)| tool(name, shown, &none));
    let mut tools: Vec<Tool> = plain.collect();
    tools.push(tool("test_sampling", "Asks the client's model.", &one("prompt")));
    tools.push(tool("test_elicitation", "Asks the client's user.", &one("message")));
    let mut header = one("region");
    header["properties"]["region"]["x-mcp-header"] = "Region".into();
    tools.push(tool("test_header", "Takes an argument that a header must repeat.", &header));
    tools.push(tool("json_schema_2020_12_tool", "Takes a schema with all that 2020-12 has.", &rich_schema()));
    tools
}

fn tool(name: &'static str, description: &'static str, schema: &Value) -> Tool {
    Tool::new(name, description, schema.as_object().cloned().unwrap_or_else(JsonObject::new))
}

/// What must reach the client as it is.
fn rich_schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {"address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }},
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": false,
    })
}

/// The answer of a tool that always gives the same.
pub(crate) fn fixed(name: &str) -> Option<Result<CallToolResult, ErrorData>> {
    let picture = json!({"type": "image", "data": PICTURE, "mimeType": "image/png"});
    let resource = |uri: &str, kind: &str, text: &str| json!({"type": "resource", "resource": {"uri": uri, "mimeType": kind, "text": text}});
    let content = match name {
        "test_simple_text" => json!([said("This is a simple text response for testing.")]),
        "test_image_content" => json!([picture]),
        "test_audio_content" => json!([{"type": "audio", "data": SOUND, "mimeType": "audio/wav"}]),
        "test_embedded_resource" => json!([resource(
            "test://embedded-resource",
            "text/plain",
            "This is an embedded resource content."
        )]),
        "test_multiple_content_types" => json!([
            said("Multiple content types test:"),
            picture,
            resource("test://mixed-content-resource", "application/json", r#"{"test":"data","value":123}"#),
        ]),
        "json_schema_2020_12_tool" | "test_header" => json!([said("taken")]),
        "test_error_handling" => {
            let content = json!([said("This tool intentionally returns an error for testing")]);
            return Some(complete(json!({"content": content, "isError": true})));
        }
        _ => return None,
    };
    Some(complete(json!({"content": content})))
}

/// A block of text.
pub(crate) fn said(text: &str) -> Value {
    json!({"type": "text", "text": text})
}
