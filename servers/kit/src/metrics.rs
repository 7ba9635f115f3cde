//! A server's own Prometheus registry, and the measures that all servers share.
//!
//! Label values are bounded: methods come from the protocol, tool names from the server's own list.

mod calls;
mod text;
mod window;

pub(crate) use calls::Calls;

use crate::limits::Limits;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use window::Window;

/// Seconds; from calls answered out of memory to those that wait for a person. Powers of two are what Prometheus'
/// native histograms use as well, so that quantiles of both agree and one can be turned into the other.
const BUCKETS: [f64; 19] = [
    1.0 / 4096.0,
    1.0 / 2048.0,
    1.0 / 1024.0,
    1.0 / 512.0,
    1.0 / 256.0,
    1.0 / 128.0,
    1.0 / 64.0,
    1.0 / 32.0,
    1.0 / 16.0,
    0.125,
    0.25,
    0.5,
    1.0,
    2.0,
    4.0,
    8.0,
    16.0,
    32.0,
    64.0,
];

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With a result.
    Ok,
    /// With a tool's own error (`isError`).
    ToolError,
    /// With a protocol error.
    Error,
    /// Not at all: the client went away.
    Cancelled,
}

impl Outcome {
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ToolError => "tool_error",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
        }
    }

    const fn is_error(self) -> bool {
        matches!(self, Self::ToolError | Self::Error)
    }
}

/// A handle on one server's measures; clones share them.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    prefix: String,
    registry: Registry,
    requests: IntCounterVec,
    durations: HistogramVec,
    rejected: IntCounterVec,
    calls: calls::Families,
    connections: AtomicI64,
    in_flight: OnceLock<Limits>,
    started: Instant,
    count: AtomicU64,
    errors: AtomicU64,
    recent: Mutex<Window>,
}

/// The numbers that `/health` shows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Summary {
    pub(crate) active_connections: i64,
    pub(crate) request_count: u64,
    pub(crate) error_count: u64,
    /// The share of requests that failed in the last five minutes.
    pub(crate) error_rate: f64,
    /// Over the last five minutes.
    pub(crate) average: Duration,
}

impl Metrics {
    /// The measures of the server with this name (`orchestrator`), in a registry of their own.
    pub fn new(server: &str) -> Self {
        let prefix = format!("mcp_{}", server.replace('-', "_"));
        let registry = Registry::new();
        let name = |suffix: &str| format!("{prefix}_{suffix}");
        let requests = IntCounterVec::new(
            Opts::new(name("requests_total"), "MCP requests, by method, tool and how they ended"),
            &["method", "tool", "status"],
        );
        let durations = HistogramVec::new(
            HistogramOpts::new(name("request_duration_seconds"), "Seconds that MCP requests took")
                .buckets(BUCKETS.to_vec()),
            &["method", "tool"],
        );
        let rejected = IntCounterVec::new(
            Opts::new(name("http_rejected_total"), "HTTP requests to /mcp that were refused, by status code"),
            &["code"],
        );
        let build = IntGaugeVec::new(
            Opts::new(name("build_info"), "Always 1; the version is the label"),
            &["version"],
        );
        // The names are written above: they cannot be malformed, nor registered twice in a new registry.
        let (requests, durations) = (requests.expect("a sound name"), durations.expect("a sound name"));
        let (rejected, build) = (rejected.expect("a sound name"), build.expect("a sound name"));
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let collectors: [Box<dyn prometheus::core::Collector>; 4] = [
            Box::new(requests.clone()),
            Box::new(durations.clone()),
            Box::new(rejected.clone()),
            Box::new(build),
        ];
        for collector in collectors {
            registry.register(collector).expect("registered once");
        }
        let calls = calls::Families::new(&prefix, &registry).expect("sound names, registered once");
        let recent = Mutex::new(Window::default());
        let (connections, count, errors) = (AtomicI64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        let started = Instant::now();
        Self(Arc::new(Inner {
            prefix,
            registry,
            requests,
            durations,
            rejected,
            calls,
            connections,
            in_flight: OnceLock::new(),
            started,
            count,
            errors,
            recent,
        }))
    }

    /// The full name of one of this server's measures: `mcp_<server>_<suffix>`.
    pub fn name(&self, suffix: &str) -> String {
        format!("{}_{suffix}", self.0.prefix)
    }

    /// Where a server registers what only it measures.
    pub fn registry(&self) -> &Registry {
        &self.0.registry
    }

    /// Registers a counter of this server's own.
    pub fn counter(&self, suffix: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
        let counter = IntCounterVec::new(Opts::new(self.name(suffix), help), labels)?;
        self.0.registry.register(Box::new(counter.clone()))?;
        Ok(counter)
    }

    /// Registers a gauge of this server's own.
    pub fn gauge(&self, suffix: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
        let gauge = IntGaugeVec::new(Opts::new(self.name(suffix), help), labels)?;
        self.0.registry.register(Box::new(gauge.clone()))?;
        Ok(gauge)
    }

    /// Registers a histogram of seconds of this server's own.
    pub fn histogram(&self, suffix: &str, help: &str, labels: &[&str]) -> prometheus::Result<HistogramVec> {
        let options = HistogramOpts::new(self.name(suffix), help).buckets(BUCKETS.to_vec());
        let histogram = HistogramVec::new(options, labels)?;
        self.0.registry.register(Box::new(histogram.clone()))?;
        Ok(histogram)
    }

    /// Counts one MCP request. `method` and `tool` are labels and must be bounded. `tool` is empty for anything but a tool call.
    pub fn observe(&self, method: &str, tool: &str, outcome: Outcome, elapsed: Duration) {
        let inner = &self.0;
        inner.requests.with_label_values(&[method, tool, outcome.label()]).inc();
        inner.durations.with_label_values(&[method, tool]).observe(elapsed.as_secs_f64());
        inner.count.fetch_add(1, Ordering::Relaxed);
        inner.errors.fetch_add(u64::from(outcome.is_error()), Ordering::Relaxed);
        self.recent(|window, now| window.record(now, outcome.is_error(), elapsed));
    }

    /// The measures of calls to one dependency.
    pub(crate) fn calls(&self, dependency: &str) -> Calls {
        self.0.calls.of(dependency)
    }

    /// The state of the breaker before one dependency.
    pub(crate) fn breaker(&self, dependency: &str) -> IntGauge {
        self.0.calls.breaker(dependency)
    }

    /// Shows no state of a dependency that is not called any more.
    pub fn forget_dependency(&self, name: &str) {
        self.0.calls.forget(name);
    }

    /// Shows how many requests count towards these limits.
    pub(crate) fn show(&self, limits: &Limits) {
        let _ = self.0.in_flight.set(limits.clone());
    }

    pub(crate) fn rejected(&self, code: http::StatusCode) {
        self.0.rejected.with_label_values(&[code.as_str()]).inc();
    }

    /// Counts a connection for as long as the guard lives.
    pub(crate) fn connection(&self) -> ConnectionGuard {
        self.0.connections.fetch_add(1, Ordering::Relaxed);
        ConnectionGuard(self.clone())
    }

    pub(crate) fn summary(&self) -> Summary {
        let recent = self.recent(|window, now| window.total(now));
        Summary {
            active_connections: self.0.connections.load(Ordering::Relaxed),
            request_count: self.0.count.load(Ordering::Relaxed),
            error_count: self.0.errors.load(Ordering::Relaxed),
            error_rate: recent.error_rate(),
            average: recent.average(),
        }
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.0.started.elapsed()
    }

    fn recent<T>(&self, use_it: impl FnOnce(&mut Window, Duration) -> T) -> T {
        use_it(&mut self.0.recent.lock().unwrap_or_else(PoisonError::into_inner), self.0.started.elapsed())
    }
}

/// Counts one connection; see [`Metrics::connection`].
#[derive(Debug)]
pub(crate) struct ConnectionGuard(Metrics);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_observed_is_told_in_text_and_in_numbers() {
        let metrics = Metrics::new("weaviate-direct");
        metrics.observe("tools/call", "echo", Outcome::Ok, Duration::from_millis(2));
        metrics.observe("tools/call", "echo", Outcome::ToolError, Duration::from_millis(4));
        let open = metrics.connection();
        let text = String::from_utf8(metrics.text()).expect("text");
        for line in [
            r#"mcp_weaviate_direct_requests_total{method="tools/call",status="tool_error",tool="echo"} 1"#,
            r#"mcp_weaviate_direct_request_duration_seconds_count{method="tools/call",tool="echo"} 2"#,
            "mcp_weaviate_direct_active_connections 1",
            "mcp_weaviate_direct_error_rate 0.5",
            "# TYPE mcp_weaviate_direct_memory_usage_mb gauge",
            "# TYPE process_cpu_seconds_total counter",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        drop(open);
        let summary = metrics.summary();
        assert_eq!((summary.request_count, summary.error_count, summary.active_connections), (2, 1, 0));
        assert_eq!(summary.average, Duration::from_millis(3));
    }

    #[test]
    fn a_servers_own_measures_carry_its_name_and_are_registered_once() {
        let metrics = Metrics::new("memory");
        metrics.counter("writes_total", "Writes", &[]).expect("new").with_label_values::<&str>(&[]).inc();
        assert!(metrics.counter("writes_total", "Writes", &[]).is_err());
        assert!(String::from_utf8(metrics.text()).expect("text").contains("mcp_memory_writes_total 1"));
    }
}
