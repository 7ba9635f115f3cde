//! A server as the gateway's health shows it.

use super::Backend;
use mcp_system_kit::Dependency;
use mcp_system_kit::breaker;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Reads what looking found out.
pub(crate) struct Shown {
    pub(crate) backend: Arc<Backend>,
    /// True once the servers had the time to start that they are given.
    pub(crate) settled: watch::Receiver<bool>,
}

impl Dependency for Shown {
    async fn check(&self) -> Result<(), String> {
        // Looking is done elsewhere; this only tells what was seen. A server that starts together with this
        // one is not yet missing.
        let last = self.backend.read().last.clone();
        if !matches!(last, Some(Ok(()))) {
            let _ = self.settled.clone().wait_for(|settled| *settled).await;
        }
        let last = self.backend.read().last.clone();
        last.unwrap_or_else(|| Err("it has not answered yet".to_owned()))
    }

    fn circuit_breaker(&self) -> Option<breaker::State> {
        Some(self.backend.guarded.state())
    }

    fn details(&self) -> Map<String, Value> {
        let tools = self.backend.listed().map_or(Value::Null, |listed| listed.tools.len().into());
        [("tools".to_owned(), tools)].into_iter().collect()
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(100)
    }
}
