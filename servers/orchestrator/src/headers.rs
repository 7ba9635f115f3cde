//! The headers that revision 2026-07-28 wants beside a body, so that those in between need not read it.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use mcp_system_kit::{AGENTS_HEADER, Caller, ONE_TENANT_HEADER, TENANT_HEADER};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use rmcp::model::{ClientRequest, JsonObject, ProtocolVersion};
use serde_json::Value;
use std::collections::HashMap;

const PARAMETER: &str = "mcp-param-";

/// Headers as the SDK's client takes them.
pub(crate) type Headers = HashMap<HeaderName, HeaderValue>;

/// What is said of a request in the latest revision. `schema` is that of the tool that is called: arguments
/// that it marks are repeated as headers.
pub(crate) fn modern(request: &ClientRequest, schema: Option<&JsonObject>) -> Headers {
    let mut headers = version(&ProtocolVersion::V_2026_07_28);
    let mut set = |name: &str, value: &str| {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(&encoded(value))) {
            headers.insert(name, value);
        }
    };
    set("mcp-method", request.method());
    if let ClientRequest::CallToolRequest(call) = request {
        set("mcp-name", &call.params.name);
        if let (Some(schema), Some(arguments)) = (schema, &call.params.arguments) {
            marked(schema, arguments, &mut |header, value| set(&format!("{PARAMETER}{header}"), value));
        }
    }
    headers
}

/// The revision alone, which is all that the earlier ones want.
pub(crate) fn version(version: &ProtocolVersion) -> Headers {
    let value = HeaderValue::from_str(version.as_str()).ok();
    value.map(|value| (HeaderName::from_static("mcp-protocol-version"), value)).into_iter().collect()
}

/// The parameters that a client sent as headers; a gateway hands on even those that it does not know. Nothing
/// else is handed on, above all not what opens doors.
pub(crate) fn parameters(headers: &HeaderMap) -> Headers {
    let parameters = headers.iter().filter(|(name, _)| name.as_str().starts_with(PARAMETER));
    parameters.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Says for whom a call is, which agents it may name, and whether it may be for no other tenant: the server behind must know as
/// well.
pub(crate) fn for_caller(caller: &Caller) -> Headers {
    let mut headers = Headers::new();
    if let Ok(tenant) = HeaderValue::from_str(&caller.tenant) {
        headers.insert(HeaderName::from_static(TENANT_HEADER), tenant);
    }
    if !caller.every_tenant {
        // The gateway's own key is for every one.
        headers.insert(HeaderName::from_static(ONE_TENANT_HEADER), HeaderValue::from_static("true"));
    }
    if let Some(agents) = &caller.agents {
        // Without the header every agent would be meant; an empty one means none.
        let agents = HeaderValue::from_str(&agents.join(","));
        let agents = agents.unwrap_or(HeaderValue::from_static(""));
        headers.insert(HeaderName::from_static(AGENTS_HEADER), agents);
    }
    headers
}

/// Of these headers those that say for whom a call is.
pub(crate) fn of_caller(headers: &Headers) -> Headers {
    let names = [TENANT_HEADER, ONE_TENANT_HEADER, AGENTS_HEADER].map(HeaderName::from_static);
    names.into_iter().filter_map(|name| headers.get(&name).cloned().map(|value| (name, value))).collect()
}

/// Visits each argument whose property is marked with `x-mcp-header`.
fn marked(schema: &JsonObject, arguments: &JsonObject, visit: &mut impl FnMut(&str, &str)) {
    let Some(Value::Object(properties)) = schema.get("properties") else { return };
    for (name, property) in properties {
        let (Some(property), Some(value)) = (property.as_object(), arguments.get(name)) else { continue };
        if let Some(Value::String(header)) = property.get("x-mcp-header") {
            match value {
                Value::String(text) => visit(header, text),
                Value::Bool(_) | Value::Number(_) => visit(header, &value.to_string()),
                _ => {}
            }
        }
        if let Value::Object(inner) = value {
            marked(property, inner, visit);
        }
    }
}

/// A value in the letters that a header may hold.
fn encoded(value: &str) -> String {
    let plain = value.bytes().all(|byte| (0x20..=0x7e).contains(&byte));
    let like_encoded = value.starts_with("=?base64?") && value.ends_with("?=");
    if plain && !like_encoded && value.trim() == value {
        value.to_owned()
    } else {
        format!("=?base64?{}?=", BASE64_STANDARD.encode(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rmcp::model::{CallToolRequestParams, Request};
    use serde_json::json;
    use std::sync::Arc;

    #[test]
    fn a_call_names_its_method_its_tool_and_its_marked_arguments() {
        let object = |value: Value| value.as_object().cloned().expect("an object");
        let schema = object(json!({"properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "inner": {"properties": {"count": {"x-mcp-header": "Count"}}},
            "plain": {"type": "string"},
        }}));
        let arguments = object(json!({"region": "Zürich", "inner": {"count": 3}, "plain": "x"}));
        let call = CallToolRequestParams::new("read file").with_arguments(arguments);
        let headers = modern(&ClientRequest::CallToolRequest(Request::new(call)), Some(&schema));
        let text = |name: &'static str| headers.get(&HeaderName::from_static(name))?.to_str().ok();
        assert_eq!(text("mcp-method"), Some("tools/call"));
        assert_eq!(text("mcp-name"), Some("read file"));
        assert_eq!(text("mcp-param-count"), Some("3"));
        assert_eq!(text("mcp-param-region"), Some("=?base64?WsO8cmljaA==?="));
        assert_eq!(headers.len(), 5);
    }

    #[test]
    fn a_caller_of_no_agent_is_not_taken_for_one_of_every_agent() {
        let every = Caller::new("a", "red");
        let told = |caller: &Caller| -> [Option<String>; 2] {
            let headers = of_caller(&for_caller(caller));
            let names = [TENANT_HEADER, AGENTS_HEADER].map(HeaderName::from_static);
            names.map(|name| headers.get(&name).map(|value| value.to_str().expect("text").to_owned()))
        };
        assert_eq!(told(&every), [Some("red".to_owned()), None]);
        let bound = HeaderName::from_static(ONE_TENANT_HEADER);
        let is_bound = |caller: &Caller| of_caller(&for_caller(caller)).contains_key(&bound);
        assert!(is_bound(&every), "the gateway's own key would be for every tenant");
        assert!(!is_bound(&Caller { every_tenant: true, ..every.clone() }));
        let cases: [(&[&str], &str); 3] = [(&["a", "b c"], "a,b c"), (&[], ""), (&["\n"], "")];
        for (agents, expected) in cases {
            let agents = agents.iter().map(|agent| Arc::<str>::from(*agent)).collect();
            let some = Caller { agents: Some(agents), ..every.clone() };
            assert_eq!(told(&some), [Some("red".to_owned()), Some(expected.to_owned())]);
        }
    }

    #[test]
    fn what_looks_encoded_or_has_blanks_around_it_is_encoded() {
        assert_eq!(encoded("plain"), "plain");
        for value in [" x", "x\n", "=?base64?eA==?="] {
            assert!(encoded(value).starts_with("=?base64?") && encoded(value) != value);
        }
    }
}
