//! The engine's own measures: what caches and indexes hold and how they serve, read when they are asked for.

use crate::cache::Served;
use crate::engine::Engine;
use crate::store::Store;
use mcp_system_kit::Metrics;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts};
use std::sync::Arc;

/// Registers the measures of an engine.
pub(crate) fn register<S: Store>(metrics: &Metrics, engine: Arc<Engine<S>>) -> prometheus::Result<()> {
    let name = |suffix: &str| metrics.name(suffix);
    let measures = Measures {
        lookups: IntCounterVec::new(
            Opts::new(name("cache_lookups_total"), "Look-ups in a cache, by whether they found an entry"),
            &["cache", "result"],
        )?,
        entries: IntGaugeVec::new(Opts::new(name("cache_entries"), "Entries in a cache"), &["cache"])?,
        scopes: IntGauge::new(name("indexes"), "Agents whose search index is in memory")?,
        bytes: IntGauge::new(name("index_bytes"), "Bytes of the search indexes in memory")?,
        embedded: IntGauge::new(
            name("embedded"),
            "Texts that got a vector of the present neural model since it was taken over",
        )?,
        model_failures: IntGauge::new(
            name("model_failures"),
            "Calls of the present neural models that failed since they were taken over",
        )?,
        engine,
    };
    metrics.registry().register(Box::new(measures))
}

struct Measures<S> {
    engine: Arc<Engine<S>>,
    lookups: IntCounterVec,
    entries: IntGaugeVec,
    scopes: IntGauge,
    bytes: IntGauge,
    embedded: IntGauge,
    model_failures: IntGauge,
}

impl<S> Measures<S> {
    fn set_cache(&self, cache: &str, served: Served) {
        self.entries.with_label_values(&[cache]).set(signed(served.entries));
        for (result, count) in [("hit", served.hits), ("miss", served.misses)] {
            let counter = self.lookups.with_label_values(&[cache, result]);
            counter.inc_by(count.saturating_sub(counter.get()));
        }
    }
}

impl<S: Store> Collector for Measures<S> {
    fn desc(&self) -> Vec<&Desc> {
        let caches = [self.lookups.desc(), self.entries.desc()].concat();
        let gauges = [&self.scopes, &self.bytes, &self.embedded, &self.model_failures];
        caches.into_iter().chain(gauges.into_iter().flat_map(Collector::desc)).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let report = self.engine.report();
        self.set_cache("search", report.searches);
        self.set_cache("memory", report.memories);
        self.scopes.set(signed(report.scopes));
        self.bytes.set(signed(report.index_bytes));
        let neural = self.engine.neural();
        self.embedded.set(signed(neural.embedded()));
        self.model_failures.set(signed(neural.failures()));
        let caches = [self.lookups.collect(), self.entries.collect()].concat();
        let gauges = [&self.scopes, &self.bytes, &self.embedded, &self.model_failures];
        caches.into_iter().chain(gauges.into_iter().flat_map(Collector::collect)).collect()
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::draft;
    use crate::engine::tests::{capacity, search};
    use crate::store::conformance::{memory, scope};
    use crate::store::sqlite::{Options, SqliteStore};
    use prometheus::TextEncoder;

    #[tokio::test]
    async fn it_is_told_how_the_caches_serve_and_what_the_indexes_hold() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(directory.path(), &Options::default()).await.expect("opens");
        let engine = Arc::new(Engine::new(Arc::new(store), capacity(1 << 30)));
        let metrics = Metrics::new("memory");
        register(&metrics, engine.clone()).expect("registers");
        let tea = draft(memory(1, "Ada prefers green tea").entry, None);
        engine.store().insert(&scope("a"), vec![tea]).await.expect("stored");
        let told = |lines: &[&str]| {
            let text = TextEncoder::new().encode_to_string(&metrics.registry().gather()).expect("text");
            for line in lines {
                assert!(text.lines().any(|it| it == *line), "{line} is not in {text}");
            }
        };
        for _ in 0..3 {
            engine.search_cached(&scope("a"), &search("tea")).await.expect("finds");
        }
        let lookups = [
            "mcp_memory_cache_lookups_total{cache=\"search\",result=\"hit\"} 2",
            "mcp_memory_cache_lookups_total{cache=\"search\",result=\"miss\"} 1",
            "mcp_memory_cache_lookups_total{cache=\"memory\",result=\"miss\"} 1",
            "mcp_memory_indexes 1",
        ];
        told(&[&lookups[..], &["mcp_memory_cache_entries{cache=\"search\"} 1"]].concat());
        engine.clear_searches(|_| true);
        // Counted once, however often they are asked for.
        told(&[&lookups[..], &["mcp_memory_cache_entries{cache=\"search\"} 0"]].concat());
    }
}
