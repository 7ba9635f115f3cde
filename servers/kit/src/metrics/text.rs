//! All measures in the text format of Prometheus.

use super::Metrics;
use crate::process;
use prometheus::proto::{Counter, Gauge, Metric, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};

impl Metrics {
    /// Everything in the text format of Prometheus.
    pub(crate) fn text(&self) -> Vec<u8> {
        let mut families = self.0.registry.gather();
        let summary = self.summary();
        #[allow(clippy::cast_precision_loss, reason = "no server holds 2^52 of anything")]
        {
            let memory = process::memory_bytes().map(|bytes| bytes as f64);
            let megabytes = memory.map(|bytes| bytes / f64::from(1 << 20));
            families.extend(
                [
                    gauge(
                        self.name("active_connections"),
                        "Open connections",
                        Some(summary.active_connections as f64),
                    ),
                    gauge(
                        self.name("requests_in_flight"),
                        "Requests to the MCP endpoint that are being served",
                        self.0.in_flight.get().map(|limits| limits.in_flight() as f64),
                    ),
                    gauge(
                        self.name("error_rate"),
                        "Failed share of the last five minutes",
                        Some(summary.error_rate),
                    ),
                    gauge(self.name("memory_usage_mb"), "Memory held, in MiB", megabytes),
                    gauge(
                        self.name("uptime_seconds"),
                        "Seconds since the start",
                        Some(self.uptime().as_secs_f64()),
                    ),
                    gauge("process_resident_memory_bytes".into(), "Memory held", memory),
                    gauge(
                        "process_open_fds".into(),
                        "Open files",
                        process::open_files().map(|files| files as f64),
                    ),
                    counter(
                        "process_cpu_seconds_total".into(),
                        "Processor time used",
                        process::cpu_seconds(),
                    ),
                ]
                .into_iter()
                .flatten(),
            );
        }
        families.sort_by(|a, b| a.name().cmp(b.name()));
        let mut text = Vec::new();
        // Writing into memory fails only for a family without a name or without measures; there is none.
        if let Err(error) = TextEncoder::new().encode(&families, &mut text) {
            tracing::warn!(%error, "metrics cannot be written");
        }
        text
    }
}

/// A measure that is taken when it is asked for, not when it changes.
fn gauge(name: String, help: &str, value: Option<f64>) -> Option<MetricFamily> {
    let mut gauge = Gauge::default();
    gauge.set_value(value?);
    Some(family(name, help, MetricType::GAUGE, Metric::from_gauge(gauge)))
}

fn counter(name: String, help: &str, value: Option<f64>) -> Option<MetricFamily> {
    let mut metric = Metric::default();
    let mut counter = Counter::default();
    counter.set_value(value?);
    metric.set_counter(counter);
    Some(family(name, help, MetricType::COUNTER, metric))
}

fn family(name: String, help: &str, kind: MetricType, metric: Metric) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name);
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(vec![metric]);
    family
}
