//! What a client reports: events, in the order in which they happened. Pure.

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;
use serde_json::Value;

/// The name of the step with which every client begins.
pub const CONNECT: &str = "connect";

/// Something that a client saw.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Event {
    /// A step came to its end.
    Done(Done),
    /// A call told how far it is.
    Progress(Progress),
}

/// The end of a step.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Done {
    pub step: String,
    ok: bool,
    /// How long the step took, as the client measured it.
    pub seconds: f64,
    result: Option<Value>,
    error: Option<Refusal>,
}

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Refusal {
    /// As JSON-RPC has it; none when the client itself gave up.
    pub code: Option<i64>,
    pub message: String,
    pub data: Option<Value>,
}

/// How far a call is.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Progress {
    pub step: String,
    pub progress: f64,
    pub total: Option<f64>,
    pub message: Option<String>,
}

impl Done {
    /// What the server answered.
    pub fn result(&self) -> Result<&Value> {
        match (&self.error, &self.result) {
            (Some(error), _) => bail!("{} failed: {} ({:?})", self.step, error.message, error.code),
            (None, Some(result)) if self.ok => Ok(result),
            (None, _) => bail!("the client reported neither a result nor an error of {}", self.step),
        }
    }

    /// Why the step failed.
    pub fn refusal(&self) -> Result<&Refusal> {
        self.error.as_ref().with_context(|| format!("{} should have failed: {:?}", self.step, self.result))
    }

    /// What a tool said about why it failed, be it an error of the protocol or a result that is one.
    pub fn complaint(&self) -> Result<String> {
        if let Some(error) = &self.error {
            return Ok(error.message.clone());
        }
        let result = self.result()?;
        if result["isError"] != Value::Bool(true) {
            bail!("{} should have failed: {result}", self.step);
        }
        Ok(text_of(result))
    }

    /// What a tool that succeeded answered, as text.
    pub fn text(&self) -> Result<String> {
        Ok(text_of(self.success()?))
    }

    /// What a tool that succeeded answered, as a value: its structured content, else the JSON in its text.
    pub fn value(&self) -> Result<Value> {
        let result = self.success()?;
        match result.get("structuredContent") {
            Some(value) if !value.is_null() => Ok(value.clone()),
            _ => serde_json::from_str(&text_of(result))
                .with_context(|| format!("{} answered no structured content: {result}", self.step)),
        }
    }

    fn success(&self) -> Result<&Value> {
        let result = self.result()?;
        if result["isError"] == Value::Bool(true) {
            bail!("the tool of {} failed: {}", self.step, text_of(result));
        }
        Ok(result)
    }
}

fn text_of(result: &Value) -> String {
    let blocks = result["content"].as_array().map(Vec::as_slice).unwrap_or_default();
    let texts: Vec<&str> = blocks.iter().filter_map(|block| block["text"].as_str()).collect();
    texts.join("\n")
}

/// Everything that a client saw.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Answers {
    events: Vec<Event>,
}

impl Answers {
    /// Reads one line of a client's output.
    pub(super) fn parse_line(line: &str) -> Result<Event> {
        serde_json::from_str(line).with_context(|| format!("a client printed what is no event: {line}"))
    }

    pub(super) fn push(&mut self, event: Event) {
        self.events.push(event);
    }

    /// All of it, in order.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// How a step ended.
    pub fn of(&self, step: &str) -> Result<&Done> {
        self.ends()
            .find(|done| done.step == step)
            .ok_or_else(|| anyhow!("no answer to {step}; the client saw {:?}", self.events))
    }

    /// The ends of all steps, in the order in which they came.
    pub fn ends(&self) -> impl Iterator<Item = &Done> {
        self.events.iter().filter_map(|event| match event {
            Event::Done(done) => Some(done),
            Event::Progress(_) => None,
        })
    }

    /// The names of the steps in the order in which they ended, after that of connecting.
    pub fn order(&self) -> Vec<&str> {
        self.ends().map(|done| done.step.as_str()).filter(|step| *step != CONNECT).collect()
    }

    /// The progress that a step reported before it ended.
    pub fn progress(&self, step: &str) -> Vec<&Progress> {
        self.events
            .iter()
            .take_while(|event| !matches!(event, Event::Done(done) if done.step == step))
            .filter_map(|event| match event {
                Event::Progress(progress) if progress.step == step => Some(progress),
                _ => None,
            })
            .collect()
    }

    /// The names of the tools that a step listed, in the server's order.
    pub fn tool_names(&self, step: &str) -> Result<Vec<&str>> {
        let result = self.of(step)?.result()?;
        let tools =
            result["tools"].as_array().with_context(|| format!("{step} listed no tools: {result}"))?;
        tools.iter().map(|tool| tool["name"].as_str().context("a tool without a name")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answers(lines: &[Value]) -> Answers {
        let events = lines.iter().map(|line| Answers::parse_line(&line.to_string()).unwrap()).collect();
        Answers { events }
    }

    #[test]
    fn a_result_is_read_as_a_value_or_as_text() {
        let answers = answers(&[
            json!({"step": "connect", "ok": true, "seconds": 0.1, "result": {"protocolVersion": "2026-07-28"}}),
            json!({"step": "one", "ok": true, "seconds": 1, "result": {"content": [], "structuredContent": {"a": 1}}}),
            json!({"step": "two", "ok": true, "seconds": 1, "result": {"content": [{"type": "text", "text": "{\"a\":2}"}]}}),
        ]);
        assert_eq!(answers.of("one").unwrap().value().unwrap(), json!({"a": 1}));
        assert_eq!(answers.of("two").unwrap().value().unwrap(), json!({"a": 2}));
        assert_eq!(answers.of("two").unwrap().text().unwrap(), "{\"a\":2}");
        assert_eq!(answers.order(), ["one", "two"]);
        assert!(answers.of("three").unwrap_err().to_string().contains("three"));
    }

    #[test]
    fn a_failed_tool_is_no_success_and_a_refused_call_no_result() {
        let answers = answers(&[
            json!({"step": "tool", "ok": true, "seconds": 1, "result": {"isError": true, "content": [{"text": "memory hangs"}]}}),
            json!({"step": "call", "ok": false, "seconds": 1, "error": {"code": -32602, "message": "no", "data": null}}),
        ]);
        let (tool, call) = (answers.of("tool").unwrap(), answers.of("call").unwrap());
        assert!(tool.text().is_err() && tool.value().is_err() && tool.refusal().is_err());
        assert_eq!(tool.complaint().unwrap(), "memory hangs");
        assert!(call.result().is_err());
        assert_eq!(call.refusal().unwrap().code, Some(-32602));
        assert_eq!(call.complaint().unwrap(), "no");
    }

    #[test]
    fn progress_counts_only_when_it_came_before_the_result() {
        let early = json!({"step": "long", "progress": 1, "total": 2.0});
        let done = json!({"step": "long", "ok": true, "seconds": 1, "result": {}});
        let late = json!({"step": "long", "progress": 2.0, "total": null, "message": "late"});
        let answers = answers(&[early, json!({"step": "x", "progress": 9}), done, late]);
        let seen: Vec<f64> = answers.progress("long").iter().map(|progress| progress.progress).collect();
        assert_eq!(seen, [1.0]);
    }
}
