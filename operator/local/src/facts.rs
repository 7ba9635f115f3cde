//! What the supervisor knows of each server right now, and whoever wants to hear of a change. Knows
//! neither processes nor views.

use mcp_system_plan::{Failure, Observed, ObservedServer};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How far a server is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It waits for another one, or is about to be started.
    #[default]
    Queued,
    /// Its process runs.
    Running,
    /// Its process ended; it is started again in a while.
    Waiting,
    /// Its process ended and stays so.
    Ended,
    /// Its process was told to end.
    Stopping,
    /// It cannot be started as things are.
    Withheld,
    /// It runs elsewhere.
    Elsewhere,
}

/// What is known of one server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) phase: Phase,
    /// The process, while it runs.
    pub(crate) pid: Option<u32>,
    /// When that process was started.
    pub(crate) started: Option<Instant>,
    /// How long it took that process to become ready for the first time.
    pub(crate) ready_after: Option<Duration>,
    /// How often a process was started in all.
    pub(crate) starts: u32,
    /// How often it was started again because it had ended by itself.
    pub(crate) restarts: u32,
    /// Whether its last answer about its health was a good one.
    pub(crate) healthy: bool,
    /// Whether it answered an MCP request; `None` until it was asked.
    pub(crate) answered: Option<bool>,
    pub(crate) version: Option<String>,
    pub(crate) tools: Option<u32>,
    /// What of its settings it told that it cannot use.
    pub(crate) warnings: Vec<String>,
    /// Memory that it holds, in bytes.
    pub(crate) memory: Option<u64>,
    /// Why it cannot become ready by itself.
    pub(crate) failure: Option<Failure>,
    /// What last kept it from running or answering.
    pub(crate) note: Option<String>,
}

impl Facts {
    /// A server that is ready: it answered about its health and an MCP request.
    pub(crate) fn is_ready(&self) -> bool {
        self.healthy && self.answered == Some(true)
    }

    /// Forgets what the last process told.
    pub(crate) fn forget_process(&mut self) {
        self.pid = None;
        self.started = None;
        self.ready_after = None;
        self.healthy = false;
        self.answered = None;
        self.memory = None;
    }

    fn observed(&self) -> ObservedServer {
        ObservedServer {
            ready: u32::from(self.healthy),
            running: u32::from(self.pid.is_some()),
            current: true,
            version: self.version.clone(),
            answered: self.answered,
            tools: self.tools,
            warnings: self.warnings.clone(),
            failure: self.failure.clone(),
            ..ObservedServer::default()
        }
    }
}

/// The facts of all servers.
#[derive(Debug)]
pub(crate) struct Board {
    facts: Mutex<BTreeMap<String, Facts>>,
    changes: watch::Sender<u64>,
}

impl Board {
    pub(crate) fn new() -> Self {
        Self { facts: Mutex::default(), changes: watch::Sender::new(0) }
    }

    /// Changes the facts of a server and tells of it when they differ.
    pub(crate) fn update(&self, server: &str, change: impl FnOnce(&mut Facts)) {
        let mut all = self.locked();
        let facts = all.entry(server.to_owned()).or_default();
        let before = facts.clone();
        change(facts);
        let is_changed = *facts != before;
        drop(all);
        if is_changed {
            self.changes.send_modify(|count| *count += 1);
        }
    }

    /// Forgets a server.
    pub(crate) fn remove(&self, server: &str) {
        self.locked().remove(server);
        self.changes.send_modify(|count| *count += 1);
    }

    /// What is known of a server.
    pub(crate) fn get(&self, server: &str) -> Facts {
        self.locked().get(server).cloned().unwrap_or_default()
    }

    /// What is known of all.
    pub(crate) fn all(&self) -> BTreeMap<String, Facts> {
        self.locked().clone()
    }

    /// Hears of every change from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Waits until a server is ready or failed, or is none of the system's any more.
    pub(crate) async fn settled(&self, server: &str) {
        let mut changes = self.changes();
        loop {
            changes.mark_unchanged();
            let is_settled = |facts: &Facts| facts.is_ready() || facts.failure.is_some();
            let is_awaited = self.locked().get(server).is_some_and(|facts| !is_settled(facts));
            if !is_awaited || changes.changed().await.is_err() {
                return;
            }
        }
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<String, Facts>> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The facts in the terms that a cluster and a laptop share.
pub(crate) fn observed(facts: &BTreeMap<String, Facts>) -> Observed {
    Observed {
        servers: facts.iter().map(|(name, facts)| (name.clone(), facts.observed())).collect(),
        ..Observed::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcp_system_crds::Reason;

    #[tokio::test]
    async fn a_change_is_told_and_a_repetition_is_not() {
        let board = Board::new();
        let mut changes = board.changes();
        board.update("memory", |facts| facts.healthy = true);
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        board.update("memory", |facts| facts.healthy = true);
        assert!(!changes.has_changed().unwrap());
    }

    #[tokio::test]
    async fn a_server_is_settled_when_it_is_ready_or_failed_or_gone() {
        type Settle = fn(&Board);
        let ways: [Settle; 3] = [
            |board| board.update("memory", |facts| (facts.healthy, facts.answered) = (true, Some(true))),
            |board| {
                let failure = Failure { reason: Reason::ServerFailing, message: "no".into() };
                board.update("memory", |facts| facts.failure = Some(failure));
            },
            |board| board.remove("memory"),
        ];
        for settle in ways {
            let board = std::sync::Arc::new(Board::new());
            board.update("memory", |facts| facts.phase = Phase::Running);
            let waiting = tokio::spawn({
                let board = board.clone();
                async move { board.settled("memory").await }
            });
            tokio::task::yield_now().await;
            assert!(!waiting.is_finished());
            settle(&board);
            waiting.await.unwrap();
        }
    }

    #[test]
    fn a_ready_server_is_observed_as_such() {
        let board = Board::new();
        board.update("memory", |facts| (facts.healthy, facts.answered) = (true, Some(true)));
        assert_eq!(observed(&board.all()).servers["memory"].ready, 1);
    }
}
