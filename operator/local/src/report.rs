//! What is told of a system on this machine: its status as a cluster would have it, and the facts of its
//! processes. Travels as JSON; `status --json` prints it.

use crate::facts::{Facts, Phase};
use crate::render::ProcessSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use mcp_system_crds::{ConditionType, McpSystemStatus, Reason, ServerStatus};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What is told of a system.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The system's name.
    pub name: String,
    /// Whether every server answers.
    pub ready: bool,
    /// Ready servers of all, as `3/3`.
    pub ready_servers: String,
    /// Where clients connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Whether clients have to show a key there.
    #[serde(default)]
    pub needs_key: bool,
    /// What is read instead of mounts; a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_mounted: Vec<String>,
    /// The file that describes it; none for the built-in system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The process that watches the servers.
    pub supervisor: u32,
    /// Where the logs are.
    pub logs: PathBuf,
    /// Ready, Reconciling, Stalled and Degraded.
    pub conditions: Vec<Condition>,
    /// Each server.
    pub servers: Vec<ServerReport>,
}

/// What is told of one server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerReport {
    /// Its name.
    pub name: String,
    /// How it is.
    pub state: State,
    /// Its process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Seconds since that process was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uptime_seconds: Option<f64>,
    /// Milliseconds that the process took to become ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_after_milliseconds: Option<u64>,
    /// How often it was started again because it had ended by itself.
    pub restarts: u32,
    /// How often a process was started in all.
    pub starts: u32,
    /// The version that it told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whether it answered an MCP request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered: Option<bool>,
    /// How many tools it offers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<i32>,
    /// Memory that it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Memory above which it is restarted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_limit_bytes: Option<u64>,
    /// Its MCP endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Its log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<PathBuf>,
    /// What keeps it from being ready, or why it was left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// How a server is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Its process is not ready yet.
    #[default]
    Starting,
    /// It answers.
    Ready,
    /// It was ready and does not answer now.
    NotReady,
    /// It ended and is started again in a while.
    Restarting,
    /// It cannot become ready by itself.
    Failed,
    /// It ended, or is not to run.
    Stopped,
    /// It is ending.
    Stopping,
    /// This machine does not run it.
    LeftOut,
}

impl State {
    /// The name that people read.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::NotReady => "not ready",
            Self::Restarting => "restarting",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Stopping => "stopping",
            Self::LeftOut => "left out",
        }
    }
}

/// Whether waiting for a system is worth while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Every server answers.
    Ready,
    /// It will not become ready by itself.
    Never,
    /// It is on its way.
    NotYet,
}

impl Report {
    /// The message of a condition that is true.
    pub(crate) fn holds(&self, type_: ConditionType) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == type_.name() && condition.status == "True")
    }

    /// Why the system is ready or not.
    pub(crate) fn verdict(&self) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == ConditionType::Ready.name())
    }

    /// Whether the system is stopped by its own file.
    pub(crate) fn is_suspended(&self) -> bool {
        self.verdict().is_some_and(|ready| ready.reason == Reason::Suspended.name())
    }

    /// Whether waiting is worth while.
    pub(crate) fn settled(&self) -> Settled {
        // Only what runs here has a log; nobody waits for what runs elsewhere.
        let under_way = |server: &ServerReport| match server.state {
            State::Starting | State::NotReady | State::Restarting | State::Stopping => server.log.is_some(),
            State::Ready | State::Failed | State::Stopped | State::LeftOut => false,
        };
        if self.ready {
            Settled::Ready
        } else if self.is_suspended() || !self.servers.iter().any(under_way) {
            Settled::Never
        } else {
            Settled::NotYet
        }
    }
}

/// One server's part, from its status and the facts of its process.
pub(crate) fn server(
    status: ServerStatus,
    facts: Option<&Facts>,
    spec: Option<&ProcessSpec>,
) -> ServerReport {
    let nothing = Facts::default();
    let state = facts.map_or(if status.endpoint.is_some() { State::Stopped } else { State::LeftOut }, state);
    let facts = facts.unwrap_or(&nothing);
    ServerReport {
        state,
        pid: facts.pid,
        uptime_seconds: facts.started.map(|started| started.elapsed().as_secs_f64()),
        ready_after_milliseconds: facts.ready_after.and_then(|time| u64::try_from(time.as_millis()).ok()),
        restarts: facts.restarts,
        starts: facts.starts,
        version: status.version,
        answered: status.answered,
        tools: status.tools,
        memory_bytes: facts.memory,
        memory_limit_bytes: spec.and_then(|spec| spec.memory_limit),
        url: status.endpoint,
        log: spec.map(|spec| spec.log.clone()),
        message: match (state, &facts.note) {
            (State::Ready, _) => None,
            (_, Some(note)) if status.message.is_none() || facts.failure.is_none() => Some(note.clone()),
            _ => status.message.map(|message| bare(&status.name, &message)),
        },
        name: status.name,
    }
}

/// A message without the server's name, which stands beside it already.
fn bare(name: &str, message: &str) -> String {
    let after_name = message.strip_prefix(name).and_then(|rest| rest.strip_prefix(": "));
    after_name.unwrap_or(message).to_owned()
}

fn state(facts: &Facts) -> State {
    match facts.phase {
        Phase::Withheld => State::Failed,
        Phase::Stopping => State::Stopping,
        _ if facts.is_ready() => State::Ready,
        _ if facts.failure.is_some() => State::Failed,
        Phase::Elsewhere if facts.answered.is_some() => State::NotReady,
        Phase::Running if facts.ready_after.is_some() => State::NotReady,
        Phase::Queued | Phase::Running | Phase::Elsewhere => State::Starting,
        Phase::Waiting => State::Restarting,
        Phase::Ended => State::Stopped,
    }
}

/// The whole, from the status and what is known of the servers.
pub(crate) fn report(
    name: &str,
    status: McpSystemStatus,
    facts: &BTreeMap<String, Facts>,
    specs: &BTreeMap<String, ProcessSpec>,
) -> Report {
    let is_ready =
        |condition: &Condition| condition.type_ == ConditionType::Ready.name() && condition.status == "True";
    let servers = status.servers.into_iter();
    Report {
        name: name.to_owned(),
        ready: status.conditions.iter().any(is_ready),
        ready_servers: status.ready_servers.unwrap_or_default(),
        url: status.url,
        servers: servers
            .map(|server_status| {
                let (facts, spec) = (facts.get(&server_status.name), specs.get(&server_status.name));
                server(server_status, facts, spec)
            })
            .collect(),
        conditions: status.conditions,
        ..Report::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcp_system_plan::Failure;

    #[test]
    fn a_state_tells_what_a_person_should_know() {
        let running = Facts { phase: Phase::Running, pid: Some(7), ..Facts::default() };
        let ready = Facts {
            healthy: true,
            answered: Some(true),
            ready_after: Some(std::time::Duration::ZERO),
            ..running.clone()
        };
        let failure = Some(Failure { reason: Reason::ServerFailing, message: "it ends".to_owned() });
        for (facts, expected) in [
            (Facts::default(), State::Starting),
            (running.clone(), State::Starting),
            (ready.clone(), State::Ready),
            (Facts { healthy: false, ..ready.clone() }, State::NotReady),
            (Facts { answered: Some(false), ..ready.clone() }, State::NotReady),
            (Facts { phase: Phase::Stopping, ..ready }, State::Stopping),
            (Facts { phase: Phase::Waiting, ..Facts::default() }, State::Restarting),
            (Facts { phase: Phase::Waiting, failure: failure.clone(), ..Facts::default() }, State::Failed),
            (Facts { phase: Phase::Withheld, failure, ..Facts::default() }, State::Failed),
            (Facts { phase: Phase::Ended, ..Facts::default() }, State::Stopped),
        ] {
            assert_eq!(state(&facts), expected, "{facts:?}");
        }
    }

    #[test]
    fn waiting_ends_when_nothing_is_under_way() {
        let with = |states: &[State]| Report {
            servers: states
                .iter()
                .map(|state| ServerReport {
                    state: *state,
                    log: Some("x.log".into()),
                    ..ServerReport::default()
                })
                .collect(),
            ..Report::default()
        };
        assert_eq!(with(&[State::Ready, State::Starting]).settled(), Settled::NotYet);
        assert_eq!(with(&[State::Failed, State::Starting]).settled(), Settled::NotYet);
        assert_eq!(with(&[State::Failed, State::Ready]).settled(), Settled::Never);
        let mut elsewhere = with(&[State::Failed, State::NotReady]);
        elsewhere.servers[1].log = None;
        assert_eq!(elsewhere.settled(), Settled::Never);
        assert_eq!(Report { ready: true, ..with(&[State::LeftOut]) }.settled(), Settled::Ready);
    }
}
