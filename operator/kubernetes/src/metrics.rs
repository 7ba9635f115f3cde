//! What the operator measures of itself, and what it shows of systems.
//!
//! Labels come from fixed sets and, with systems, from their names and those of their servers; never from messages or Debug
//! texts.

use crate::kind::SystemKey;
use mcp_system_crds::{ConditionType, McpSystemStatus, Reason};
use prometheus::{
    Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The conditions of a system that are measured. With Reconciling nothing is wrong yet.
const CONDITIONS: [ConditionType; 3] =
    [ConditionType::Ready, ConditionType::Stalled, ConditionType::Degraded];

/// What is shown of a system.
struct Shown {
    /// Whether each of these conditions holds; none for one that is not told.
    states: [Option<bool>; CONDITIONS.len()],
    /// The servers that do not answer.
    silent: Vec<String>,
}

/// Everything that is measured.
pub(crate) struct Metrics {
    registry: Registry,
    /// Systems that were looked at, by result: `ok`, `gone`, `invalid`, `unreadable`, `refused` or `error`.
    pub(crate) reconciles: IntCounterVec,
    /// How long that takes, in seconds.
    pub(crate) duration: Histogram,
    /// What went wrong, by reason.
    pub(crate) errors: IntCounterVec,
    /// Systems that wait to be looked at.
    pub(crate) queue: IntGauge,
    /// Writes that were sent, by kind and verb.
    writes: IntCounterVec,
    /// Watches that broke off, by kind.
    pub(crate) watch_errors: IntCounterVec,
    /// MCP requests to servers, by result: `answered` or `silent`.
    pub(crate) asks: IntCounterVec,
    /// Systems that are known.
    pub(crate) systems: IntGauge,
    /// Systems that cannot be read.
    pub(crate) unreadable: IntCounter,
    /// 1 while this operator leads.
    pub(crate) leader: IntGauge,
    memory: Gauge,
    /// What was last told of each system, by the leader only. No vector of gauges: it takes `a`, `bc` and `ab`, `c` for the
    /// same labels, since it hashes them without a mark between them, and holds a description for each line.
    shown: Mutex<BTreeMap<SystemKey, Shown>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let duration = Histogram::with_opts(
            HistogramOpts::new("mcp_operator_reconcile_duration_seconds", "Time to look at one system.")
                .buckets(vec![0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0]),
        )?;
        registry.register(Box::new(duration.clone()))?;
        let unreadable = IntCounter::new("mcp_operator_unreadable_total", "Systems that could not be read.")?;
        registry.register(Box::new(unreadable.clone()))?;
        let memory = Gauge::new("process_resident_memory_bytes", "Resident memory size in bytes.")?;
        registry.register(Box::new(memory.clone()))?;
        let reconciles =
            counters("mcp_operator_reconciles_total", "Systems that were looked at.", &["result"])?;
        // A counter that is not there before its first count hides that first one from `increase`, and an alert waits for
        // these two, of which each further one is ten minutes later.
        for result in ["invalid", "unreadable"] {
            reconciles.with_label_values(&[result]);
        }
        Ok(Self {
            reconciles,
            duration,
            errors: counters(
                "mcp_operator_reconcile_errors_total",
                "What went wrong with systems.",
                &["reason"],
            )?,
            queue: gauge("mcp_operator_queue_depth", "Systems that wait to be looked at.")?,
            writes: counters(
                "mcp_operator_writes_total",
                "Writes that were sent to the API.",
                &["kind", "verb"],
            )?,
            watch_errors: counters("mcp_operator_watch_errors_total", "Watches that broke off.", &["kind"])?,
            asks: counters("mcp_operator_asks_total", "MCP requests to servers.", &["result"])?,
            systems: gauge("mcp_operator_systems", "Systems that are known.")?,
            unreadable,
            leader: gauge("mcp_operator_leader", "1 while this operator leads.")?,
            memory,
            shown: Mutex::default(),
            registry,
        })
    }

    /// Counts a write that was sent.
    pub(crate) fn write(&self, kind: &str, verb: &str) {
        self.writes.with_label_values(&[kind, verb]).inc();
    }

    /// Notes whether this operator leads. While it does not, another one shows the systems.
    pub(crate) fn lead(&self, leads: bool) {
        self.leader.set(i64::from(leads));
        if !leads {
            self.shown().clear();
        }
    }

    /// Shows what a status says of its system from now on.
    pub(crate) fn show(&self, key: &SystemKey, status: &McpSystemStatus) {
        let hold = CONDITIONS.map(|type_| {
            let condition = status.conditions.iter().find(|condition| condition.type_ == type_.name())?;
            // Nobody is to be called because of a system that was stopped on purpose.
            (condition.reason != Reason::Suspended.name()).then_some(condition.status == "True")
        });
        let mute = status.servers.iter().filter(|server| server.answered == Some(false));
        let silent = mute.map(|server| server.name.clone()).collect();
        self.shown().insert(key.clone(), Shown { states: hold, silent });
    }

    /// Shows a system no more.
    pub(crate) fn forget(&self, key: &SystemKey) {
        self.shown().remove(key);
    }

    fn shown(&self) -> MutexGuard<'_, BTreeMap<SystemKey, Shown>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The text that Prometheus reads.
    pub(crate) fn text(&self) -> String {
        if let Some(bytes) = resident_bytes() {
            self.memory.set(bytes);
        }
        let mut text = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text) {
            tracing::warn!(%error, "metrics cannot be written");
        }
        self.put_systems(&mut text);
        text
    }

    fn put_systems(&self, text: &mut String) {
        let shown = self.shown();
        text.push_str(&heading_of_gauge(
            "mcp_operator_system_condition",
            "1 while a system has this condition. A suspended one is not said to be Ready or not.",
        ));
        for (SystemKey { namespace, name }, Shown { states, .. }) in &*shown {
            // Neither has a character that would have to be escaped.
            let system = format!(r#"mcp_operator_system_condition{{namespace="{namespace}",name="{name}""#);
            for (type_, state) in CONDITIONS.iter().zip(states) {
                if let Some(state) = *state {
                    let _ = writeln!(text, r#"{system},condition="{}"}} {}"#, type_.name(), u8::from(state));
                }
            }
        }
        text.push_str(&heading_of_gauge(
            "mcp_operator_server_silent",
            "1 for each server that does not answer MCP requests. One that does has no line.",
        ));
        for (SystemKey { namespace, name }, Shown { silent, .. }) in &*shown {
            let system = format!(r#"mcp_operator_server_silent{{namespace="{namespace}",name="{name}""#);
            for server in silent {
                let _ = writeln!(text, r#"{system},server="{server}"}} 1"#);
            }
        }
    }
}

fn heading_of_gauge(name: &str, help: &str) -> String {
    format!("# HELP {name} {help}\n# TYPE {name} gauge\n")
}

fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcp_system_crds::ServerStatus;
    use serde_json::json;

    fn status(ready: &str, reason: &str) -> McpSystemStatus {
        let condition = |type_: &str, status: &str, reason: &str| {
            json!({
                "type": type_, "status": status, "reason": reason, "message": "words",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            })
        };
        let all = json!([
            condition("Ready", ready, reason),
            condition("Reconciling", "False", "UpToDate"),
            condition("Stalled", "False", "NothingWrong"),
            condition("Degraded", "True", "LeftOut"),
        ]);
        let conditions = serde_json::from_value(all).expect("conditions");
        McpSystemStatus { conditions, ..McpSystemStatus::default() }
    }

    /// What is shown of the conditions of systems, line by line.
    fn shown(metrics: &Metrics) -> Vec<String> {
        lines(metrics, "mcp_operator_system_condition")
    }

    /// The lines of a metric without its name.
    fn lines(metrics: &Metrics, name: &str) -> Vec<String> {
        let text = metrics.text();
        let lines = text.lines().filter_map(|line| line.strip_prefix(name));
        lines.map(str::to_owned).collect()
    }

    #[test]
    fn each_system_has_one_line_for_a_condition_until_it_is_gone() {
        let metrics = Metrics::new().expect("metrics");
        // Vectors of gauges would take these for one.
        let (first, second) = (SystemKey::new("a", "bc"), SystemKey::new("ab", "c"));
        metrics.show(&first, &status("False", "ServersNotReady"));
        metrics.show(&first, &status("True", "AllServersReady"));
        metrics.show(&second, &status("False", "ServersNotReady"));
        assert_eq!(
            shown(&metrics),
            [
                r#"{namespace="a",name="bc",condition="Ready"} 1"#,
                r#"{namespace="a",name="bc",condition="Stalled"} 0"#,
                r#"{namespace="a",name="bc",condition="Degraded"} 1"#,
                r#"{namespace="ab",name="c",condition="Ready"} 0"#,
                r#"{namespace="ab",name="c",condition="Stalled"} 0"#,
                r#"{namespace="ab",name="c",condition="Degraded"} 1"#,
            ]
        );
        metrics.forget(&first);
        metrics.show(&second, &status("False", "Suspended"));
        assert_eq!(
            shown(&metrics),
            [
                r#"{namespace="ab",name="c",condition="Stalled"} 0"#,
                r#"{namespace="ab",name="c",condition="Degraded"} 1"#,
            ]
        );
    }

    #[test]
    fn each_server_that_does_not_answer_has_a_line_until_it_does() {
        let metrics = Metrics::new().expect("metrics");
        let silent = || lines(&metrics, "mcp_operator_server_silent");
        let server = |name: &str, answered| ServerStatus {
            name: name.to_owned(),
            answered,
            ..ServerStatus::default()
        };
        let servers = vec![server("memory", Some(false)), server("shop", None), server("tools", Some(true))];
        let one = McpSystemStatus { servers, ..status("False", "McpNotAnswered") };
        let others = vec![server("tools", Some(false)), server("shop", Some(false))];
        let other = McpSystemStatus { servers: others, ..status("True", "AllServersReady") };
        metrics.show(&SystemKey::new("red", "demo"), &one);
        metrics.show(&SystemKey::new("blue", "demo"), &other);
        assert_eq!(
            silent(),
            [
                r#"{namespace="blue",name="demo",server="tools"} 1"#,
                r#"{namespace="blue",name="demo",server="shop"} 1"#,
                r#"{namespace="red",name="demo",server="memory"} 1"#,
            ]
        );
        metrics.show(&SystemKey::new("blue", "demo"), &status("True", "AllServersReady"));
        assert_eq!(silent(), [r#"{namespace="red",name="demo",server="memory"} 1"#]);
        metrics.lead(false);
        assert_eq!(silent(), [""; 0]);
    }

    #[test]
    fn the_first_system_that_is_invalid_is_an_increase() {
        let text = Metrics::new().expect("metrics").text();
        for result in ["invalid", "unreadable"] {
            let line = format!("mcp_operator_reconciles_total{{result=\"{result}\"}} 0\n");
            assert!(text.contains(&line), "{text}");
        }
    }

    #[test]
    fn only_the_leader_shows_systems() {
        let metrics = Metrics::new().expect("metrics");
        metrics.lead(true);
        metrics.show(&SystemKey::new("test", "demo"), &status("True", "AllServersReady"));
        metrics.lead(true);
        assert_eq!(shown(&metrics).len(), CONDITIONS.len());
        metrics.lead(false);
        assert_eq!(shown(&metrics), [""; 0]);
        assert!(metrics.text().contains("\nmcp_operator_leader 0\n"));
    }
}
