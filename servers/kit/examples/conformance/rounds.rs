//! Calls that take more than one round (2026-07-28): the server answers with what it needs, and the client calls
//! again with it. What the server must remember travels sealed through the client; it keeps nothing itself.

use crate::seal::Seal;
use rmcp::model::{ClientCapabilities, ErrorData, InputRequiredResult, InputResponses};
use serde_json::{Map, Value, json};

/// What a call makes of what it has got so far.
pub(crate) enum Turn {
    /// The answer.
    Done(String),
    /// What the client is asked for.
    Ask(InputRequiredResult),
}

/// What the client brought along.
pub(crate) struct Round<'a> {
    pub(crate) responses: &'a InputResponses,
    pub(crate) state: Option<&'a str>,
    pub(crate) capabilities: ClientCapabilities,
    pub(crate) seal: &'a Seal,
}

type Turned = Result<Turn, ErrorData>;

impl Round<'_> {
    /// One turn of a tool or prompt that asks; none if it is no such one.
    pub(crate) fn play(&self, name: &str) -> Option<Turned> {
        Some(match name {
            "test_input_required_result_elicitation" | "test_streaming_elicitation" => self.name(),
            "test_input_required_result_sampling" => self.sampling(),
            "test_input_required_result_list_roots" => self.roots(),
            "test_input_required_result_request_state" => self.confirmed("state-ok: it came back"),
            "test_input_required_result_tampered_state" => self.confirmed("integrity-ok: it came back whole"),
            "test_input_required_result_multiple_inputs" => self.three(),
            "test_input_required_result_multi_round" => self.two_rounds(),
            "test_input_required_result_capabilities" => self.capable(),
            crate::prompts::ASKING => self.context(),
            _ => return None,
        })
    }

    fn name(&self) -> Turned {
        match self.field("user_name", "name") {
            Some(name) => Ok(Turn::Done(format!("Hello, {name}!"))),
            None => ask(json!({"user_name": form("What is your name?", "name", "string")}), None),
        }
    }

    fn context(&self) -> Turned {
        match self.field("user_context", "context") {
            Some(context) => Ok(Turn::Done(format!("Prompt with context: {context}"))),
            None => ask(json!({"user_context": form("For what?", "context", "string")}), None),
        }
    }

    fn sampling(&self) -> Turned {
        match self.sampled("sample_request") {
            Some(text) => Ok(Turn::Done(format!("Sampling result: {text}"))),
            None => ask(json!({"sample_request": sample("What is the capital of France?")}), None),
        }
    }

    fn roots(&self) -> Turned {
        match self.count_of_roots("roots_request") {
            Some(count) => Ok(Turn::Done(format!("Found {count} roots"))),
            None => ask(json!({"roots_request": {"method": "roots/list"}}), None),
        }
    }

    /// Done once the question is answered and the state has come back as it was.
    fn confirmed(&self, done: &str) -> Turned {
        let state = self.state()?;
        let confirmed = self.responses.get("confirm").is_some_and(|answer| answer["content"]["ok"] == true);
        if confirmed && state.is_some_and(|state| state["asked"] == "confirm") {
            return Ok(Turn::Done(done.to_owned()));
        }
        let state = self.seal.close(&json!({"asked": "confirm"}));
        ask(json!({"confirm": form("Go on?", "ok", "boolean")}), Some(state))
    }

    fn three(&self) -> Turned {
        let given = (
            self.state()?,
            self.field("user_name", "name"),
            self.sampled("greeting"),
            self.count_of_roots("client_roots"),
        );
        if let (Some(_), Some(name), Some(greeting), Some(roots)) = given {
            return Ok(Turn::Done(format!("{greeting}, {name}, of {roots} roots")));
        }
        let wanted = json!({
            "user_name": form("What is your name?", "name", "string"),
            "greeting": sample("Greet somebody."),
            "client_roots": {"method": "roots/list"},
        });
        ask(wanted, Some(self.seal.close(&json!({"asked": "three"}))))
    }

    fn two_rounds(&self) -> Turned {
        let state = self.state()?.unwrap_or_default();
        if let (Some(name), Some(colour)) = (state["name"].as_str(), self.field("step2", "color")) {
            return Ok(Turn::Done(format!("{name} likes {colour}")));
        }
        let known = state["name"].as_str().or_else(|| self.field("step1", "name"));
        match known {
            Some(name) if state["asked"] == "step1" || state["asked"] == "step2" => {
                let state = self.seal.close(&json!({"asked": "step2", "name": name}));
                ask(json!({"step2": form("Which colour do you like?", "color", "string")}), Some(state))
            }
            _ => {
                let state = self.seal.close(&json!({"asked": "step1"}));
                ask(json!({"step1": form("What is your name?", "name", "string")}), Some(state))
            }
        }
    }

    fn capable(&self) -> Turned {
        if !self.responses.is_empty() {
            return Ok(Turn::Done("capabilities-ok".to_owned()));
        }
        let mut wanted = Map::new();
        if self.capabilities.elicitation.is_some() {
            wanted.insert("elicit_input".to_owned(), form("Which value?", "value", "string"));
        }
        #[allow(deprecated, reason = "sampling is deprecated, and still to be asked for")]
        if self.capabilities.sampling.is_some() {
            wanted.insert("sample_input".to_owned(), sample("Say something."));
        }
        if wanted.is_empty() {
            return Ok(Turn::Done("this client can give nothing".to_owned()));
        }
        ask(Value::Object(wanted), Some(self.seal.close(&json!({"asked": "capable"}))))
    }

    /// The state that came back: none if none did, an error if it is not what was sent.
    fn state(&self) -> Result<Option<Value>, ErrorData> {
        let Some(sealed) = self.state else { return Ok(None) };
        let refused = || ErrorData::invalid_params("requestState is not what this server sent", None);
        self.seal.open(sealed).map(Some).ok_or_else(refused)
    }

    /// A field of an accepted form.
    fn field(&self, key: &str, field: &str) -> Option<&str> {
        self.responses.get(key)?.get("content")?.get(field)?.as_str()
    }

    fn sampled(&self, key: &str) -> Option<&str> {
        self.responses.get(key)?.get("content")?.get("text")?.as_str()
    }

    fn count_of_roots(&self, key: &str) -> Option<usize> {
        Some(self.responses.get(key)?.get("roots")?.as_array()?.len())
    }
}

fn ask(wanted: Value, state: Option<String>) -> Turned {
    let wanted = crate::resources::read_as(wanted)?;
    Ok(Turn::Ask(InputRequiredResult::new(Some(wanted), state)))
}

/// A form with one field.
fn form(message: &str, field: &str, kind: &str) -> Value {
    let schema = json!({"type": "object", "properties": {field: {"type": kind}}, "required": [field]});
    json!({"method": "elicitation/create", "params": {"mode": "form", "message": message, "requestedSchema": schema}})
}

fn sample(prompt: &str) -> Value {
    let messages = json!([{"role": "user", "content": {"type": "text", "text": prompt}}]);
    json!({"method": "sampling/createMessage", "params": {"messages": messages, "maxTokens": 100}})
}
