//! Resources: a text, a picture, a template, and one that can be watched.

use crate::PICTURE;
use rmcp::model::{ErrorData, ListResourceTemplatesResult, ListResourcesResult, ReadResourceResult};
use serde_json::{Value, json};

/// What is listed.
pub(crate) fn list() -> Result<ListResourcesResult, ErrorData> {
    complete(json!({"resources": [
        {"uri": "test://static-text", "name": "static-text", "description": "A text.", "mimeType": "text/plain"},
        {"uri": "test://static-binary", "name": "static-binary", "description": "A picture.", "mimeType": "image/png"},
        {"uri": "test://watched-resource", "name": "watched-resource", "description": "Can be watched.", "mimeType": "text/plain"},
    ]}))
}

/// The one template.
pub(crate) fn templates() -> Result<ListResourceTemplatesResult, ErrorData> {
    complete(json!({"resourceTemplates": [{
        "uriTemplate": "test://template/{id}/data",
        "name": "template",
        "description": "Data of an id.",
        "mimeType": "application/json",
    }]}))
}

/// What stands under a URI.
pub(crate) fn read(uri: &str) -> Result<ReadResourceResult, ErrorData> {
    let text = |kind: &str, text: &str| json!({"uri": uri, "mimeType": kind, "text": text});
    let content = match uri {
        "test://static-text" => text("text/plain", "This is the content of the static text resource."),
        "test://static-binary" => json!({"uri": uri, "mimeType": "image/png", "blob": PICTURE}),
        "test://watched-resource" => text("text/plain", "Watched resource content"),
        _ => {
            let id = uri.strip_prefix("test://template/").and_then(|rest| rest.strip_suffix("/data"));
            let unknown = || {
                ErrorData::invalid_params(format!("there is no resource {uri:?}"), Some(json!({"uri": uri})))
            };
            let id = id.ok_or_else(unknown)?;
            let data = json!({"id": id, "templateTest": true, "data": format!("Data for ID: {id}")});
            text("application/json", &data.to_string())
        }
    };
    complete(json!({"contents": [content]}))
}

/// A whole result. Clients of the 2025 revisions do not get the type, which they do not know.
pub(crate) fn complete<T: serde::de::DeserializeOwned>(mut result: Value) -> Result<T, ErrorData> {
    result["resultType"] = "complete".into();
    read_as(result)
}

/// JSON as one of the protocol's own types.
pub(crate) fn read_as<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, ErrorData> {
    serde_json::from_value(value).map_err(|error| ErrorData::internal_error(error.to_string(), None))
}
