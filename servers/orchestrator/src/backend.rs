//! One server behind the gateway: its tools as last heard of, its health, and calls to it.

mod look;
mod shown;

use crate::connection::{Connection, Extras, Failure};
use crate::key::Key;
use crate::measures::Measures;
use mcp_system_config::{OrchestratorSettings, Resilience};
use mcp_system_kit::guarded::{self, Guarded, Verdict};
use mcp_system_kit::{Metrics, Reloaded};
use rmcp::model::{CallToolResponse, ClientRequest, ErrorData, ServerResult, Tool};
pub(crate) use shown::Shown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// What is known of a server's tools.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Listed {
    pub(crate) tools: Arc<Vec<Tool>>,
    /// Whether the list may differ between users.
    pub(crate) private: bool,
    /// For how long the server lets it be used; at least a second.
    pub(crate) ttl: Option<Duration>,
}

/// Why a call has no result of the tool.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The server answered with an error of the protocol.
    Refused(ErrorData),
    /// The server did not answer; what to tell people.
    Failed(String),
}

#[derive(Debug)]
pub(crate) struct Backend {
    settings: mcp_system_config::Backend,
    /// Of the whole gateway, as they are now.
    shared: Reloaded<OrchestratorSettings>,
    connection: Connection,
    guarded: Guarded,
    /// Read by each call while it runs.
    calls: tokio::sync::RwLock<()>,
    started: Instant,
    measures: Measures,
    /// The last call was given up for want of an answer: that the server lists its tools then proves nothing.
    hung: AtomicBool,
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    listed: Option<Listed>,
    listed_at: Option<Instant>,
    /// What the last look brought.
    last: Option<Result<(), String>>,
    failures: u32,
}

impl Backend {
    /// A server. `before` is the one that it replaces under its name: until it is heard of, its tools are
    /// taken to be the same.
    pub(crate) fn new(
        client: reqwest::Client,
        settings: &mcp_system_config::Backend,
        shared: Reloaded<OrchestratorSettings>,
        metrics: &Metrics,
        measures: Measures,
        before: Option<&Self>,
    ) -> Self {
        let listed = before.and_then(Self::listed);
        Self {
            connection: Connection::new(client, &settings.url, Key::in_file(settings.key_file.clone())),
            guarded: Guarded::new(&settings.name, &shared.current().resilience, metrics),
            calls: tokio::sync::RwLock::default(),
            settings: settings.clone(),
            shared,
            started: Instant::now(),
            measures,
            hung: AtomicBool::new(false),
            state: RwLock::new(State { listed, ..State::default() }),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.settings.name
    }

    pub(crate) const fn settings(&self) -> &mcp_system_config::Backend {
        &self.settings
    }

    /// Puts other limits into force.
    pub(crate) fn limit(&self, resilience: &Resilience) {
        self.guarded.set(resilience);
    }

    /// How long its list is used: as the settings say, or shorter where the server says so.
    fn list_ttl(&self, state: &State) -> Duration {
        let own = Duration::from_secs(self.shared.current().settings.gateway.list_ttl_seconds.max(1).into());
        state.listed.as_ref().and_then(|listed| listed.ttl).map_or(own, |ttl| ttl.min(own))
    }

    /// Its tools as last heard of; none before the first answer.
    pub(crate) fn listed(&self) -> Option<Listed> {
        self.read().listed.clone()
    }

    /// Calls a tool. A call that may have been carried out is not repeated.
    pub(crate) async fn call(
        &self,
        request: ClientRequest,
        extras: &Extras<'_>,
    ) -> Result<CallToolResponse, Trouble> {
        let _running = self.calls.read().await;
        let shared = self.shared.current();
        let mut measure = self.measures.call(self.name());
        let call_timeout = Duration::from_secs(shared.settings.gateway.call_timeout_seconds.max(1).into());
        let called =
            self.guarded.call(call_timeout, verdict, || self.connection.request(request.clone(), extras));
        let called = called.await;
        match &called {
            Err(guarded::Trouble::Late { .. }) => self.hung.store(true, Ordering::Relaxed),
            Err(guarded::Trouble::Open { .. } | guarded::Trouble::Exhausted { .. }) => {}
            Ok(_) | Err(guarded::Trouble::Failed(_)) => self.hung.store(false, Ordering::Relaxed),
        }
        let trouble = match called {
            Ok(result) => {
                let response = response(result);
                measure.status = match &response {
                    Ok(CallToolResponse::Complete(result)) if result.is_error == Some(true) => "tool_error",
                    Ok(_) => "ok",
                    Err(_) => "error",
                };
                return response.map_err(|what| Trouble::Failed(self.complaint(what)));
            }
            Err(trouble) => trouble,
        };
        let (status, message) = match trouble {
            guarded::Trouble::Failed(Failure::Refused(error)) => {
                measure.status = "error";
                return Err(Trouble::Refused(error));
            }
            guarded::Trouble::Open { wait } => {
                let last = self.read().last.clone().and_then(Result::err);
                let last = last.unwrap_or_else(|| "it did not answer".into());
                let message = format!(
                    "The server \"{}\" behind this tool failed several times in a row ({last}) and is left alone \
                     for up to {} s more. Use another tool or try again later; its log says why it fails.",
                    self.name(),
                    wait.as_secs() + 1
                );
                ("refused", message)
            }
            guarded::Trouble::Exhausted { places } => {
                let what = format!("is busy with {places} calls, which is the limit; nothing was sent");
                ("exhausted", self.complaint(&what))
            }
            guarded::Trouble::Failed(Failure::Answered(what)) => ("error", self.complaint(&what)),
            guarded::Trouble::Failed(Failure::Denied) => {
                let what = format!("turned the call away: {}", self.connection.key.complaint());
                ("denied", self.complaint(&what))
            }
            guarded::Trouble::Failed(Failure::Unreachable(why)) => {
                ("unreachable", self.complaint(&format!("cannot be reached ({why})")))
            }
            guarded::Trouble::Failed(Failure::Lost(why) | Failure::Stale(why)) => {
                let what =
                    format!("gave no answer ({why}), so the call may or may not have been carried out");
                ("lost", self.complaint(&what))
            }
            guarded::Trouble::Late { after } => {
                let what = format!("gave no answer within {} s; the call was given up", after.as_secs());
                ("timeout", self.complaint(&what))
            }
        };
        measure.status = status;
        if matches!(status, "unreachable" | "lost" | "timeout") {
            // Whether it is gone is better known now than at the next look's time.
            self.connection.changed.notify_one();
        }
        Err(Trouble::Failed(message))
    }

    fn complaint(&self, what: &str) -> String {
        format!(
            "The server \"{}\" behind this tool {what}. Tools of other servers are not affected. Try again in a \
             moment; if it stays like this, look at that server's state and log.",
            self.name()
        )
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a failed call says about the server. What was never sent can be sent again.
const fn verdict(failure: &Failure) -> Verdict {
    match failure {
        Failure::Refused(_) | Failure::Answered(_) | Failure::Denied => Verdict::Answered,
        Failure::Unreachable(_) => Verdict::Repeatable,
        Failure::Lost(_) | Failure::Stale(_) => Verdict::Failed,
    }
}

/// What a call's result may be.
fn response(result: ServerResult) -> Result<CallToolResponse, &'static str> {
    match result {
        ServerResult::CallToolResult(mut result) => {
            // Servers of before leave out what the latest revision wants; the SDK leaves it out again for
            // clients of before.
            result.result_type.get_or_insert_default();
            Ok(CallToolResponse::Complete(result))
        }
        ServerResult::InputRequiredResult(result) => Ok(CallToolResponse::InputRequired(result)),
        _ => Err("answered with something that is no tool's result"),
    }
}
