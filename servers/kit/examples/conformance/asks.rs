//! Clients of the 2025 revisions are asked in the middle of a call: the question goes out on the call's own stream,
//! the answer comes in as a request of its own. It must reach the process that holds the call, so that this is the
//! one thing for which several copies of a server would need affinity. No session is kept for it: a question has an
//! id that was never given before, which is all that finds its call again.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use futures::stream::once;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::convert::Infallible;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot::{Receiver, Sender, channel};

const BODY_BYTES: usize = 1 << 20;
/// How long a client may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Questions that nobody has answered yet, by id.
#[derive(Default)]
struct Open(Mutex<HashMap<String, Sender<Value>>>);

impl Open {
    fn ask(&self, id: &str) -> Receiver<Value> {
        let (answer, answered) = channel();
        self.map(|open| open.insert(id.to_owned(), answer));
        answered
    }

    fn take(&self, id: &str) -> Option<Sender<Value>> {
        self.map(|open| open.remove(id))
    }

    fn map<T>(&self, with: impl FnOnce(&mut HashMap<String, Sender<Value>>) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A question that is forgotten with its call.
struct Question(Arc<Open>, String);

impl Drop for Question {
    fn drop(&mut self) {
        self.0.take(&self.1);
    }
}

/// Puts this before the endpoint.
pub(crate) fn around(routes: Router) -> Router {
    routes.layer(from_fn_with_state(Arc::<Open>::default(), intercept))
}

async fn intercept(State(open): State<Arc<Open>>, request: Request, next: Next) -> Response {
    if request.method() != Method::POST || request.uri().path() != "/mcp" {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_BYTES).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let message: Value = serde_json::from_slice(&body).unwrap_or_default();
    let answers = message.get("method").is_none();
    if let Some(call) = message["id"].as_str().filter(|_| answers).and_then(|id| open.take(id)) {
        // A call that was given up wants no answer any more.
        let _ = call.send(message);
        return StatusCode::ACCEPTED.into_response();
    }
    match question(&message) {
        Some((method, params)) => exchange(open, message["id"].clone(), method, &params),
        None => next.run(Request::from_parts(parts, Body::from(body))).await,
    }
}

/// The stream of one call: the question, then the result.
fn exchange(open: Arc<Open>, call: Value, method: &'static str, params: &Value) -> Response {
    let id = format!("{:016x}{:016x}", RandomState::new().hash_one(0), RandomState::new().hash_one(1));
    let answered = open.ask(&id);
    let asked = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
    let question = Question(open, id);
    let result = async move {
        let answer = tokio::time::timeout(PATIENCE, answered).await;
        drop(question);
        let (text, failed) = match answer {
            Ok(Ok(answer)) if answer.get("result").is_some() => (told(method, &answer["result"]), false),
            Ok(Ok(answer)) => (format!("the client cannot answer: {}", answer["error"]["message"]), true),
            _ => ("the client did not answer".to_owned(), true),
        };
        let result = json!({"content": [{"type": "text", "text": text}], "isError": failed});
        event(&json!({"jsonrpc": "2.0", "id": call, "result": result}))
    };
    let events = once(async move { event(&asked) }).chain(once(result)).map(Ok::<_, Infallible>);
    ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response()
}

fn event(message: &Value) -> String {
    format!("event: message\ndata: {message}\n\n")
}

fn told(method: &str, result: &Value) -> String {
    match method {
        "sampling/createMessage" => format!("LLM response: {}", result["content"]["text"]),
        _ => format!("User response: action={}, content={}", result["action"], result["content"]),
    }
}

/// What a call of a 2025 revision asks of its client, for the tools that ask.
fn question(message: &Value) -> Option<(&'static str, Value)> {
    let params = message.get("params").filter(|_| message["method"] == "tools/call")?;
    if params["_meta"].get("io.modelcontextprotocol/protocolVersion").is_some() {
        return None;
    }
    let form = |message: &Value, properties: Value| {
        let schema = json!({"type": "object", "properties": properties});
        ("elicitation/create", json!({"message": message, "requestedSchema": schema}))
    };
    let arguments = &params["arguments"];
    Some(match params["name"].as_str()? {
        "test_sampling" => {
            let content = json!({"type": "text", "text": arguments["prompt"]});
            let messages = json!([{"role": "user", "content": content}]);
            ("sampling/createMessage", json!({"messages": messages, "maxTokens": 100}))
        }
        "test_elicitation" => {
            form(&arguments["message"], json!({"username": {"type": "string"}, "email": {"type": "string"}}))
        }
        "test_elicitation_sep1034_defaults" => form(&"Is this right?".into(), defaults()),
        "test_elicitation_sep1330_enums" => form(&"Which ones?".into(), choices()),
        _ => return None,
    })
}

fn defaults() -> Value {
    json!({
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": true},
    })
}

/// Every kind of choice that a form can offer.
fn choices() -> Value {
    let options = json!(["option1", "option2", "option3"]);
    let titled = json!([
        {"const": "value1", "title": "First"},
        {"const": "value2", "title": "Second"},
        {"const": "value3", "title": "Third"},
    ]);
    json!({
        "untitledSingle": {"type": "string", "enum": options},
        "titledSingle": {"type": "string", "oneOf": titled},
        "legacyEnum": {"type": "string", "enum": ["opt1", "opt2", "opt3"], "enumNames": ["One", "Two", "Three"]},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled}},
    })
}
