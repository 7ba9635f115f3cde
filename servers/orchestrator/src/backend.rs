//! One server behind the gateway: its tools as last heard of, its health, and calls to it.

mod look;
mod shown;

use crate::connection::{Connection, Extras, Failure};
use crate::measures::Measures;
use mcp_system_config::{GatewaySettings, Resilience};
use mcp_system_kit::breaker::{Breaker, Limits};
use mcp_system_kit::retry::retry;
use rmcp::model::{CallToolResponse, ClientRequest, ErrorData, ServerResult, Tool};
pub(crate) use shown::Shown;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// What is known of a server's tools.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listed {
    pub(crate) tools: Arc<Vec<Tool>>,
    /// Whether the list may differ between users.
    pub(crate) private: bool,
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
    pub(crate) name: String,
    connection: Connection,
    health_url: Option<String>,
    breaker: Breaker,
    resilience: Resilience,
    call_timeout: Duration,
    list_ttl: Duration,
    started: Instant,
    measures: Measures,
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
    pub(crate) fn new(
        client: reqwest::Client,
        settings: &mcp_system_config::Backend,
        gateway: &GatewaySettings,
        resilience: &Resilience,
        measures: Measures,
    ) -> Self {
        Self {
            name: settings.name.clone(),
            connection: Connection::new(client, &settings.url),
            health_url: settings.health_url.clone(),
            breaker: Breaker::new(Limits::from(resilience)),
            resilience: resilience.clone(),
            call_timeout: Duration::from_secs(gateway.call_timeout_seconds.max(1).into()),
            list_ttl: Duration::from_secs(gateway.list_ttl_seconds.max(1).into()),
            started: Instant::now(),
            measures,
            state: RwLock::default(),
        }
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
        let mut measure = self.measures.call(&self.name);
        if let Err(wait) = self.breaker.admit() {
            measure.status = "refused";
            let last =
                self.read().last.clone().and_then(Result::err).unwrap_or_else(|| "it did not answer".into());
            return Err(Trouble::Failed(format!(
                "The server \"{}\" behind this tool failed several times in a row ({last}) and is left alone for up \
                 to {} s more. Use another tool or try again later; its log says why it fails.",
                self.name,
                wait.as_secs() + 1
            )));
        }
        let unsent = |failure: &Failure| matches!(failure, Failure::Unreachable(_));
        let calling =
            retry(&self.resilience.retry, unsent, || self.connection.request(request.clone(), extras));
        let (status, what) = match tokio::time::timeout(self.call_timeout, calling).await {
            Ok(Ok(result)) => {
                self.breaker.succeed();
                let response = response(result);
                measure.status = match &response {
                    Ok(CallToolResponse::Complete(result)) if result.is_error == Some(true) => "tool_error",
                    Ok(_) => "ok",
                    Err(_) => "error",
                };
                return response.map_err(|what| Trouble::Failed(self.complaint(what)));
            }
            Ok(Err(Failure::Refused(error))) => {
                self.breaker.succeed();
                measure.status = "error";
                return Err(Trouble::Refused(error));
            }
            Ok(Err(Failure::Unreachable(why))) => ("unreachable", format!("cannot be reached ({why})")),
            Ok(Err(Failure::Lost(why) | Failure::Stale(why))) => {
                ("lost", format!("gave no answer ({why}), so the call may or may not have been carried out"))
            }
            Err(_) => {
                let seconds = self.call_timeout.as_secs();
                ("timeout", format!("gave no answer within {seconds} s; the call was given up"))
            }
        };
        measure.status = status;
        self.breaker.fail();
        // Whether it is gone is better known now than at the next look's time.
        self.connection.changed.notify_one();
        Err(Trouble::Failed(self.complaint(&what)))
    }

    fn complaint(&self, what: &str) -> String {
        format!(
            "The server \"{}\" behind this tool {what}. Tools of other servers are not affected. Try again in a \
             moment; if it stays like this, look at that server's state and log.",
            self.name
        )
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
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
