//! A gateway before real servers: what it lists, how it calls, and what it does when they misbehave.

mod bench;
mod changing;
mod keys;
mod passing;
mod stage;
mod trouble;

use serde_json::Value;

fn server_of(answer: &Value) -> &Value {
    &answer["result"]["structuredContent"]["server"]
}

fn text_of(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_default()
}
