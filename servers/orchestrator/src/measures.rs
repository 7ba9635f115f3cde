//! What the gateway measures of the servers behind it. The labels are their names, so the configuration
//! bounds them.

use mcp_system_kit::Metrics;
use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};
use std::time::Instant;

#[derive(Clone, Debug)]
pub(crate) struct Measures {
    up: IntGaugeVec,
    calls: IntCounterVec,
    seconds: HistogramVec,
}

impl Measures {
    pub(crate) fn new(metrics: &Metrics) -> prometheus::Result<Self> {
        Ok(Self {
            up: metrics.gauge("backend_up", "1 while the server behind the gateway answers", &["backend"])?,
            calls: metrics.counter(
                "backend_calls_total",
                "Tool calls to the server behind the gateway, by how they ended",
                &["backend", "status"],
            )?,
            seconds: metrics.histogram(
                "backend_call_duration_seconds",
                "Seconds that tool calls to the server behind the gateway took",
                &["backend"],
            )?,
        })
    }

    pub(crate) fn up(&self, backend: &str, up: bool) {
        self.up.with_label_values(&[backend]).set(up.into());
    }

    /// Shows this server as up no more, nor as down: it is not there.
    pub(crate) fn remove(&self, backend: &str) {
        // An error says only that it was never shown.
        let _ = self.up.remove_label_values(&[backend]);
    }

    /// Begins to measure a call; it is counted when the guard goes, as cancelled unless told otherwise.
    pub(crate) fn call<'a>(&'a self, backend: &'a str) -> Call<'a> {
        Call { measures: self, backend, started: Instant::now(), status: "cancelled" }
    }
}

pub(crate) struct Call<'a> {
    measures: &'a Measures,
    backend: &'a str,
    started: Instant,
    pub(crate) status: &'static str,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.measures.calls.with_label_values(&[self.backend, self.status]).inc();
        self.measures
            .seconds
            .with_label_values(&[self.backend])
            .observe(self.started.elapsed().as_secs_f64());
    }
}
