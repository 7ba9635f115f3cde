//! Prompts: plain, with arguments, with a resource, with a picture.

use crate::PICTURE;
use crate::resources::complete;
use crate::tools::said;
use rmcp::model::{ErrorData, GetPromptResult, JsonObject, ListPromptsResult};
use serde_json::{Value, json};

/// The prompt that asks before it answers; see [`crate::rounds`].
pub(crate) const ASKING: &str = "test_input_required_result_prompt";

/// What is listed.
pub(crate) fn list() -> Result<ListPromptsResult, ErrorData> {
    let argument =
        |name: &str| json!({"name": name, "description": "Stands in the prompt.", "required": true});
    complete(json!({"prompts": [
        {"name": "test_simple_prompt", "description": "A plain prompt."},
        {"name": "test_prompt_with_arguments", "description": "A prompt with two arguments.",
            "arguments": [argument("arg1"), argument("arg2")]},
        {"name": "test_prompt_with_embedded_resource", "description": "A prompt with a resource.",
            "arguments": [argument("resourceUri")]},
        {"name": "test_prompt_with_image", "description": "A prompt with a picture."},
        {"name": ASKING, "description": "A prompt that asks first."},
    ]}))
}

/// One prompt with its arguments filled in.
pub(crate) fn get(name: &str, arguments: &JsonObject) -> Result<GetPromptResult, ErrorData> {
    let argument = |name: &str| {
        arguments
            .get(name)
            .and_then(Value::as_str)
            .ok_or_else(|| ErrorData::invalid_params(format!("the prompt needs the argument {name:?}"), None))
    };
    match name {
        "test_simple_prompt" => prompt(&[said("This is a simple prompt for testing.")]),
        "test_prompt_with_arguments" => {
            let (one, two) = (argument("arg1")?, argument("arg2")?);
            prompt(&[said(&format!("Prompt with arguments: arg1='{one}', arg2='{two}'"))])
        }
        "test_prompt_with_embedded_resource" => {
            let text = "Embedded resource content for testing.";
            let resource = json!({"uri": argument("resourceUri")?, "mimeType": "text/plain", "text": text});
            let block = json!({"type": "resource", "resource": resource});
            prompt(&[block, said("Please process the embedded resource above.")])
        }
        "test_prompt_with_image" => {
            let picture = json!({"type": "image", "data": PICTURE, "mimeType": "image/png"});
            prompt(&[picture, said("Please analyze the image above.")])
        }
        _ => Err(ErrorData::invalid_params(format!("there is no prompt {name:?}"), None)),
    }
}

/// Messages of the user's, one a block.
pub(crate) fn prompt(blocks: &[Value]) -> Result<GetPromptResult, ErrorData> {
    let messages: Vec<Value> = blocks.iter().map(|block| json!({"role": "user", "content": block})).collect();
    complete(json!({"messages": messages}))
}
