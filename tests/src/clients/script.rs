//! What a client is told to do. It reads one [`Script`] as JSON from its standard input, and for each step prints a
//! line of JSON when the step is done, and one for each notice of progress before that.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::Era;

/// How long a step may take, unless it says otherwise.
const USUAL: Duration = Duration::from_secs(20);

/// A whole conversation.
#[derive(Debug, Serialize)]
pub struct Script<'a> {
    url: &'a str,
    era: Era,
    /// For connecting.
    seconds: f64,
    steps: &'a [Step],
}

impl<'a> Script<'a> {
    pub(super) fn new(url: &'a str, era: Era, steps: &'a [Step]) -> Self {
        Self { url, era, seconds: USUAL.as_secs_f64(), steps }
    }

    /// The longest time that the whole of it can take, the start of an interpreter included.
    pub(super) fn limit(&self) -> Duration {
        self.steps.iter().map(Step::limit).sum::<Duration>() + USUAL * 2
    }
}

/// One thing to do, with the name under which its answer is found.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    step: String,
    #[serde(flatten)]
    action: Action,
}

#[derive(Debug, Clone, Serialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Action {
    ListTools { seconds: f64 },
    ListResources { seconds: f64 },
    Read { uri: String, seconds: f64 },
    Call { tool: String, arguments: Value, progress: bool, seconds: f64 },
    Together { steps: Vec<Step> },
}

impl Step {
    /// Lists the tools, all pages of them.
    pub fn list_tools(name: impl Into<String>) -> Self {
        Self { step: name.into(), action: Action::ListTools { seconds: USUAL.as_secs_f64() } }
    }

    /// Lists the resources, all pages of them, and the templates of resources.
    pub fn list_resources(name: impl Into<String>) -> Self {
        Self { step: name.into(), action: Action::ListResources { seconds: USUAL.as_secs_f64() } }
    }

    /// Reads a resource.
    pub fn read(name: impl Into<String>, uri: impl Into<String>) -> Self {
        Self { step: name.into(), action: Action::Read { uri: uri.into(), seconds: USUAL.as_secs_f64() } }
    }

    /// Calls a tool.
    pub fn call(name: impl Into<String>, tool: impl Into<String>, arguments: Value) -> Self {
        let seconds = USUAL.as_secs_f64();
        Self {
            step: name.into(),
            action: Action::Call { tool: tool.into(), arguments, progress: false, seconds },
        }
    }

    /// Does these at once, over one connection, and goes on when all are done.
    pub fn together(steps: Vec<Self>) -> Self {
        Self { step: "together".to_owned(), action: Action::Together { steps } }
    }

    /// Asks to be told of progress.
    #[must_use]
    pub fn with_progress(mut self) -> Self {
        if let Action::Call { progress, .. } = &mut self.action {
            *progress = true;
        }
        self
    }

    /// Gives up after this time.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        match &mut self.action {
            Action::ListTools { seconds }
            | Action::ListResources { seconds }
            | Action::Read { seconds, .. }
            | Action::Call { seconds, .. } => *seconds = limit.as_secs_f64(),
            Action::Together { steps } => *steps = steps.drain(..).map(|step| step.within(limit)).collect(),
        }
        self
    }

    fn limit(&self) -> Duration {
        match &self.action {
            Action::ListTools { seconds }
            | Action::ListResources { seconds }
            | Action::Read { seconds, .. }
            | Action::Call { seconds, .. } => Duration::from_secs_f64(*seconds),
            Action::Together { steps } => steps.iter().map(Self::limit).max().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_client_reads_it_as_flat_objects() {
        let steps = [
            Step::list_tools("tools"),
            Step::together(vec![Step::call("echo", "echo", json!({"message": "hi"})).with_progress()])
                .within(Duration::from_secs(3)),
        ];
        let script = Script::new("http://localhost/mcp", Era::Modern, &steps);
        assert_eq!(
            serde_json::to_value(&script).unwrap(),
            json!({
                "url": "http://localhost/mcp",
                "era": "2026-07-28",
                "seconds": 20.0,
                "steps": [
                    {"step": "tools", "do": "list_tools", "seconds": 20.0},
                    {"step": "together", "do": "together", "steps": [{
                        "step": "echo",
                        "do": "call",
                        "tool": "echo",
                        "arguments": {"message": "hi"},
                        "progress": true,
                        "seconds": 3.0,
                    }]},
                ],
            })
        );
        assert_eq!(script.limit(), Duration::from_secs(63));
    }
}
