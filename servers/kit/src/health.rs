//! What a server says of itself. Everything here was found out in the background: a probe only reads it.

use crate::breaker;
use crate::dependencies::Dependencies;
use crate::dependency::AnyDependency;
use crate::metrics::Metrics;
use crate::process;
use crate::reload::Told;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

/// A dependency's check that takes longer counts as failed.
pub(crate) const DEPENDENCY_DEADLINE: Duration = Duration::from_secs(2);

/// A server's condition in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// It has not yet answered an MCP request.
    Starting,
    Healthy,
    /// It answers, but something that it depends on does not, or its files cannot be used as they are now.
    Degraded,
    /// It does not answer MCP requests.
    Unhealthy,
    /// It answers, but is about to end.
    Draining,
}

impl Status {
    /// Whether clients should be sent here.
    pub(crate) const fn ready(self) -> bool {
        matches!(self, Self::Healthy | Self::Degraded)
    }
}

/// What the last question to the server itself brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Own {
    NotAsked,
    /// It listed so many tools.
    Answered(usize),
    Failed(String),
}

/// A dependency and what its last check brought.
pub(crate) struct Watched {
    pub(crate) name: String,
    pub(crate) check: Box<dyn AnyDependency>,
    pub(crate) last: RwLock<Option<Result<(), String>>>,
}

impl Watched {
    pub(crate) fn new(name: String, check: Box<dyn AnyDependency>) -> Self {
        Self { name, check, last: RwLock::new(None) }
    }

    /// Checks now; what takes longer than `deadline` has failed.
    pub(crate) async fn look(&self, deadline: Duration) {
        let result = tokio::time::timeout(deadline, self.check.check())
            .await
            .unwrap_or_else(|_| Err(format!("it did not answer within {} ms", deadline.as_millis())));
        let mut last = self.last.write().unwrap_or_else(PoisonError::into_inner);
        match (&*last, &result) {
            (None | Some(Ok(())), Err(error)) => {
                tracing::warn!(dependency = self.name, error, "a dependency is out of reach");
            }
            (Some(Err(_)), Ok(())) => tracing::info!(dependency = self.name, "a dependency is back"),
            _ => {}
        }
        *last = Some(result);
    }

    fn report(&self) -> Value {
        let mut report = Map::new();
        let (status, message) = match self.last() {
            None => ("unknown", None),
            Some(Ok(())) => ("healthy", None),
            Some(Err(message)) => ("unhealthy", Some(message)),
        };
        report.insert("status".into(), status.into());
        report.extend(message.map(|message| ("message".into(), message.into())));
        let breaker = self.check.circuit_breaker();
        report.extend(breaker.map(|state| ("circuit_breaker_state".into(), state.name().into())));
        report.extend(self.check.details());
        Value::Object(report)
    }
}

/// Everything that `/health` tells.
pub(crate) struct Health {
    pub(crate) server: &'static str,
    pub(crate) metrics: Metrics,
    pub(crate) protocol_versions: Vec<String>,
    dependencies: Dependencies,
    configuration: Told,
    own: RwLock<Own>,
    gate: AtomicBool,
    draining: AtomicBool,
    /// Where profiles are offered, or why they are not.
    profiling: RwLock<Option<String>>,
}

impl Health {
    pub(crate) fn new(
        server: &'static str,
        metrics: Metrics,
        protocol_versions: Vec<String>,
        dependencies: Dependencies,
        configuration: Told,
    ) -> Self {
        let own = RwLock::new(Own::NotAsked);
        let (gate, draining) = (AtomicBool::new(false), AtomicBool::new(false));
        let profiling = RwLock::new(None);
        Self {
            server,
            metrics,
            protocol_versions,
            dependencies,
            configuration,
            own,
            gate,
            draining,
            profiling,
        }
    }

    /// What the server waits for before it is ready has come.
    pub(crate) fn open_gate(&self) {
        self.gate.store(true, Ordering::Release);
    }

    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    pub(crate) fn draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    pub(crate) fn set_profiling(&self, told: Option<String>) {
        *self.profiling.write().unwrap_or_else(PoisonError::into_inner) = told;
    }

    pub(crate) fn set_own(&self, own: Own) {
        let mut last = self.own.write().unwrap_or_else(PoisonError::into_inner);
        match (&*last, &own) {
            (Own::NotAsked | Own::Failed(_), Own::Answered(tools)) => {
                tracing::info!(server = self.server, tools, "answering MCP requests");
            }
            (Own::NotAsked | Own::Answered(_), Own::Failed(error)) => {
                tracing::warn!(server = self.server, error, "not answering MCP requests");
            }
            _ => {}
        }
        *last = own;
    }

    pub(crate) fn status(&self) -> Status {
        let own = self.own.read().unwrap_or_else(PoisonError::into_inner);
        let failed = self.dependencies.all().iter().any(|watched| matches!(watched.last(), Some(Err(_))));
        let failed = failed || self.configuration.any_rejected();
        status(self.draining(), self.gate.load(Ordering::Acquire), &own, failed)
    }

    pub(crate) fn report(&self) -> Value {
        let own = self.own.read().unwrap_or_else(PoisonError::into_inner).clone();
        let summary = self.metrics.summary();
        let watched = self.dependencies.all();
        let breakers = watched.iter().filter_map(|watched| watched.check.circuit_breaker());
        let dependencies: Map<_, _> =
            watched.iter().map(|watched| (watched.name.clone(), watched.report())).collect();
        let mut report = json!({
            "status": self.status(),
            "server_name": self.server,
            "version": env!("CARGO_PKG_VERSION"),
            "timestamp": jiff::Timestamp::now().to_string(),
            "uptime_seconds": rounded(self.metrics.uptime().as_secs_f64()),
            "metrics": {
                "memory_usage_mb": process::memory_bytes().map(|bytes| rounded(megabytes(bytes))),
                "active_connections": summary.active_connections,
                "request_count": summary.request_count,
                "error_count": summary.error_count,
                "error_rate": rounded(summary.error_rate),
                "average_response_time_ms": rounded(summary.average.as_secs_f64() * 1000.0),
                "circuit_breaker_state": breakers.max().unwrap_or(breaker::State::Closed).name(),
            },
            "dependencies": dependencies,
            "configuration": self.configuration.report(),
            "tools": Value::Null,
            "protocol_versions": self.protocol_versions,
        });
        if let Some(told) = &*self.profiling.read().unwrap_or_else(PoisonError::into_inner) {
            report["profiling"] = told.as_str().into();
        }
        match own {
            Own::NotAsked => {}
            Own::Answered(tools) => report["tools"] = tools.into(),
            Own::Failed(message) => report["message"] = message.into(),
        }
        report
    }
}

/// The one place where the word is chosen.
const fn status(draining: bool, gate: bool, own: &Own, failed: bool) -> Status {
    match own {
        _ if draining => Status::Draining,
        Own::Failed(_) => Status::Unhealthy,
        Own::NotAsked => Status::Starting,
        Own::Answered(_) if !gate => Status::Starting,
        Own::Answered(_) if failed => Status::Degraded,
        Own::Answered(_) => Status::Healthy,
    }
}

#[allow(clippy::cast_precision_loss, reason = "no server holds 2^52 bytes")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Three digits are enough for people.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reload::Verdict;

    fn health(check: impl crate::Dependency) -> Health {
        let dependencies = Dependencies::default();
        dependencies.insert("store", check);
        let metrics = Metrics::new("memory");
        let told = Told::new(&metrics).expect("new");
        Health::new("memory", metrics, vec!["2026-07-28".into()], dependencies, told)
    }

    #[test]
    fn the_word_follows_from_what_is_known() {
        let (answered, failed) = (Own::Answered(1), Own::Failed(String::new()));
        assert_eq!(status(false, true, &Own::NotAsked, false), Status::Starting);
        assert_eq!(status(false, false, &answered, false), Status::Starting);
        assert_eq!(status(false, true, &answered, false), Status::Healthy);
        assert_eq!(status(false, true, &answered, true), Status::Degraded);
        assert_eq!(status(false, true, &failed, true), Status::Unhealthy);
        assert_eq!(status(true, true, &answered, false), Status::Draining);
        assert!(Status::Degraded.ready() && !Status::Draining.ready() && !Status::Starting.ready());
    }

    #[tokio::test]
    async fn a_failed_dependency_degrades_and_is_shown() {
        let health = health(|| async { Err("the disk is full".to_owned()) });
        health.set_own(Own::Answered(7));
        health.open_gate();
        assert_eq!(health.status(), Status::Healthy, "what is not known yet is no failure");
        health.dependencies.all()[0].look(DEPENDENCY_DEADLINE).await;
        let report = health.report();
        assert_eq!(report["status"], "degraded");
        assert_eq!(report["tools"], 7);
        assert_eq!(
            report["dependencies"]["store"],
            json!({"status": "unhealthy", "message": "the disk is full"})
        );
        assert_eq!(report["metrics"]["circuit_breaker_state"], "closed");
        report["timestamp"].as_str().expect("text").parse::<jiff::Timestamp>().expect("RFC 3339");
    }

    #[test]
    fn a_file_that_cannot_be_used_degrades_until_it_can() {
        let health = health(|| std::future::ready(Ok(())));
        health.set_own(Own::Answered(1));
        health.open_gate();
        health.configuration.began("settings");
        assert_eq!(health.report()["configuration"]["settings"], json!({"status": "current"}));
        health.configuration.tell("settings", Verdict::Rejected("a typo".into()));
        assert_eq!(health.status(), Status::Degraded);
        assert_eq!(
            health.report()["configuration"]["settings"],
            json!({"status": "rejected", "message": "a typo"})
        );
        let fields = vec!["listen.port".to_owned()];
        health.configuration.tell("settings", Verdict::Applied { needs_restart: fields });
        assert_eq!(health.status(), Status::Healthy, "it works as it did");
        assert_eq!(
            health.report()["configuration"]["settings"],
            json!({"status": "restart_required", "fields": ["listen.port"]})
        );
        let text = String::from_utf8(health.metrics.text()).expect("text");
        for line in [
            "mcp_memory_config_last_reload_successful{file=\"settings\"} 1",
            "mcp_memory_config_reloads_total{file=\"settings\",outcome=\"rejected\"} 1",
            "mcp_memory_config_reloads_total{file=\"settings\",outcome=\"applied\"} 1",
            "mcp_memory_config_restart_required{file=\"settings\"} 1",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }

    #[tokio::test]
    async fn a_check_that_hangs_counts_as_failed() {
        let health = health(std::future::pending::<Result<(), String>>);
        health.dependencies.all()[0].look(Duration::from_millis(1)).await;
        assert_eq!(health.report()["dependencies"]["store"]["status"], "unhealthy");
    }
}
