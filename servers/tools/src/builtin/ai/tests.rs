//! The tools on an endpoint of this machine that answers as OpenAI's does.

use super::*;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use mcp_system_config::ToolsSettings;
use mcp_system_kit::Metrics;
use std::sync::Arc;

async fn serve() -> String {
    let embeddings = async |headers: HeaderMap, Json(body): Json<Value>| {
        if headers.get("authorization").and_then(|value| value.to_str().ok()) != Some("Bearer s3cret") {
            return (StatusCode::UNAUTHORIZED, Json(json!({"error": {"message": "no key"}})));
        }
        let texts = body["input"].as_array().cloned().unwrap_or_default();
        let length = |text: &Value| text.as_str().map_or(0, str::len);
        let mut data: Vec<Value> = texts
            .iter()
            .enumerate()
            .map(|(index, text)| json!({"index": index, "embedding": [length(text), 0.5]}))
            .collect();
        data.reverse();
        (StatusCode::OK, Json(json!({"model": "m1", "data": data})))
    };
    let chat = async |Json(body): Json<Value>| {
        let content = body.to_string();
        let choice = json!({"message": {"content": content}, "finish_reason": "stop"});
        Json(json!({"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}))
    };
    let routes =
        Router::new().route("/v1/embeddings", post(embeddings)).route("/v1/chat/completions", post(chat));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base = format!("http://{}/v1/", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    base
}

async fn call(ai: Value, tool: &str, arguments: Value) -> Result<Value, String> {
    let settings: ToolsSettings = serde_json::from_value(json!({ "ai": ai })).expect("settings");
    let environment: crate::stock::Environment = Arc::new(|name| match name {
        "KEY" => Some("s3cret".to_owned()),
        "WRONG" => Some("wrong".to_owned()),
        _ => None,
    });
    let stock = Stock::with_environment(&settings, &Metrics::new("tools"), environment).expect("a stock");
    let registry = stock.registry(&settings).expect("a registry");
    let arguments = arguments.as_object().cloned().expect("an object");
    registry.get(tool).expect("there").execute(arguments, Call::default()).await.map_err(|failure| failure.0)
}

#[tokio::test]
async fn texts_become_vectors_in_their_order() {
    let base = serve().await;
    let ai = json!({"baseUrl": base, "apiKeyEnv": "KEY", "embeddingModel": "m"});
    let embedded = call(ai, "ai_embed", json!({"texts": ["a", "abc"]})).await.expect("embedded");
    assert_eq!(embedded, json!({"model": "m1", "dimensions": 2, "vectors": [[1.0, 0.5], [3.0, 0.5]]}));
    let ai = json!({"baseUrl": base, "apiKeyEnv": "WRONG", "embeddingModel": "m"});
    let error = call(ai, "ai_embed", json!({"texts": ["a"]})).await.expect_err("refused");
    assert_eq!(error, "the models' endpoint answered with status 401: no key");
}

#[tokio::test]
async fn a_prompt_is_answered_within_the_operators_limit() {
    let ai = json!({"baseUrl": serve().await, "completionModel": "m", "maxTokens": 50});
    let arguments = json!({"prompt": "Hi", "system": "Be kind", "max_tokens": 100, "temperature": 0.5});
    let completed = call(ai, "ai_complete", arguments).await.expect("answered");
    let asked: Value = serde_json::from_str(completed["text"].as_str().expect("text")).expect("JSON");
    let messages = json!([{"role": "system", "content": "Be kind"}, {"role": "user", "content": "Hi"}]);
    assert_eq!(asked, json!({"model": "m", "messages": messages, "max_tokens": 50, "temperature": 0.5}));
    assert_eq!((&completed["finish_reason"], &completed["completion_tokens"]), (&json!("stop"), &json!(4)));
}

#[tokio::test]
async fn what_is_not_set_is_told() {
    for (ai, tool, expected) in [
        (json!({}), "ai_embed", "is disabled: there is no embedding model"),
        (json!({"completionModel": "m"}), "ai_complete", "ai.baseUrl is missing"),
        (
            json!({"baseUrl": "http://127.0.0.1:1", "completionModel": "m", "apiKeyEnv": "NO_KEY"}),
            "ai_complete",
            "the environment variable NO_KEY is not set",
        ),
    ] {
        let arguments = if tool == "ai_embed" { json!({"texts": ["a"]}) } else { json!({"prompt": "a"}) };
        let error = call(ai, tool, arguments).await.expect_err(expected);
        assert!(error.contains(expected), "{error}");
    }
}
