//! What stands before each thing that the tools depend on. A guard outlives the registries that use it, so that what is known of
//! a dependency survives a change of other settings. It must not know what is guarded.

use mcp_system_config::Resilience;
use mcp_system_kit::Metrics;
use mcp_system_kit::guarded::Guarded;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The models' endpoint, the search engine, the cache's Redis: how health, metrics and logs call them.
pub(crate) const AI: &str = "ai";
pub(crate) const WEB_SEARCH: &str = "web_search";
pub(crate) const CACHE: &str = "cache";

/// All that tools of the settings send requests to, as health calls it.
pub(crate) const USER_TOOLS: &str = "user_tools";

/// The name of the guard before what a tool of the settings sends its requests to.
pub(crate) fn user_tool(name: &str) -> String {
    format!("{USER_TOOLS}/{name}")
}

/// The name of a database's guard.
pub(crate) fn database(name: &str) -> String {
    format!("databases/{name}")
}

/// Guards, by the names of what they stand before. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Guards {
    metrics: Metrics,
    held: Arc<Mutex<Held>>,
}

#[derive(Debug)]
struct Held {
    resilience: Resilience,
    named: BTreeMap<String, Arc<Guarded>>,
}

impl Guards {
    pub(crate) fn new(resilience: Resilience, metrics: &Metrics) -> Self {
        let held = Held { resilience, named: BTreeMap::new() };
        Self { metrics: metrics.clone(), held: Arc::new(Mutex::new(held)) }
    }

    /// The guard of this name. The name is a label of metrics: it must come from the settings.
    pub(crate) fn of(&self, name: &str) -> Arc<Guarded> {
        let mut held = self.lock();
        let Held { resilience, named } = &mut *held;
        let made = || Arc::new(Guarded::new(name, resilience, &self.metrics));
        named.entry(name.to_owned()).or_insert_with(made).clone()
    }

    /// Puts other settings into force for all of them, and for those to come.
    pub(crate) fn set(&self, resilience: &Resilience) {
        let mut held = self.lock();
        held.named.values().for_each(|guarded| guarded.set(resilience));
        held.resilience = resilience.clone();
    }

    /// Forgets those of other names, whose dependencies are not there any more.
    pub(crate) fn keep(&self, is_there: impl Fn(&str) -> bool) {
        self.lock().named.retain(|name, _| {
            let stays = is_there(name);
            if !stays {
                self.metrics.forget_dependency(name);
            }
            stays
        });
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // Each change is whole by itself.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcp_system_kit::breaker::State;
    use mcp_system_kit::guarded::Verdict;
    use std::time::Duration;

    #[tokio::test]
    async fn settings_reach_those_that_are_there_and_those_to_come() {
        let metrics = Metrics::new("tools");
        let guards = Guards::new(Resilience::default(), &metrics);
        let early = guards.of("early");
        guards.set(&Resilience { failure_threshold: 1, ..Resilience::default() });
        for guarded in [early.clone(), guards.of("late")] {
            let gone = || async { Err::<(), _>("gone") };
            guarded.call(Duration::from_secs(1), |_| Verdict::Failed, gone).await.expect_err("gone");
            assert_eq!(guarded.state(), State::Open);
        }
        assert!(Arc::ptr_eq(&early, &guards.of("early")), "it is the same one");
        guards.keep(|name| name == "late");
        let text =
            prometheus::TextEncoder::new().encode_to_string(&metrics.registry().gather()).expect("text");
        assert!(
            text.contains("breaker_state{dependency=\"late\"} 2")
                && !text.contains("state{dependency=\"early\"}"),
            "{text}"
        );
        assert_eq!(guards.of("early").state(), State::Closed, "a new one");
    }
}
