//! What the operator measures of itself.
//!
//! Labels come from fixed sets only, never from names, messages or Debug texts.

use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};
use std::fmt;

/// Everything that is measured.
pub(crate) struct Metrics {
    registry: Registry,
    /// Systems that were looked at, by result: `ok`, `error`, `refused` or `invalid`.
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
        Ok(Self {
            reconciles: counters(
                "mcp_operator_reconciles_total",
                "Systems that were looked at.",
                &["result"],
            )?,
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
            registry,
        })
    }

    /// Counts a write that was sent.
    pub(crate) fn write(&self, kind: &str, verb: &str) {
        self.writes.with_label_values(&[kind, verb]).inc();
    }

    /// The text that Prometheus reads.
    pub(crate) fn text(&self) -> String {
        if let Some(bytes) = resident_bytes() {
            self.memory.set(bytes);
        }
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::warn!(%error, "metrics cannot be written");
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024.0)
}
