//! What a server's logs tell, and that health and metrics agree with them.

use super::start;
use crate::demo::settings;
use mcp_system_config::Resilience;
use mcp_system_kit::guarded::{Guarded, Verdict};
use mcp_system_kit::{Dependency, Metrics, breaker};
use serde_json::{Value, json};
use std::io::Write;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;
use tracing::Dispatch;
use tracing::subscriber::{DefaultGuard, NoSubscriber};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

/// The lines that this thread logs, in the form that servers log.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Lines {
    /// Captures for as long as the guard lives. A test's runtime has one thread, so its server logs here as well.
    fn captured() -> (Self, DefaultGuard) {
        // Of a single subscriber, `tracing` asks the thread that logs first what is wanted, and that may be another test's.
        static ANOTHER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::default()));
        LazyLock::force(&ANOTHER);
        let lines = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(lines.clone())
            .with_max_level(tracing::Level::DEBUG)
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .finish();
        (lines, subscriber.set_default())
    }

    fn with(&self, message: &str) -> Vec<Value> {
        let bytes = self.0.lock().expect("not poisoned").clone();
        let lines = String::from_utf8(bytes).expect("text");
        let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        lines.filter(|line| line["message"] == message).collect()
    }
}

#[tokio::test]
async fn what_is_logged_during_a_call_carries_the_callers_trace() {
    let (lines, _guard) = Lines::captured();
    let server = start(settings(), |server| server).await;
    let traces = ["4bf92f3577b34da6a3ce929d0e0e4736", "0af7651916cd43dd8448eb211c80319c"];
    let [of_header, of_metadata] = traces.map(|trace| format!("00-{trace}-00f067aa0ba902b7-01"));
    let echo = || server.call("echo", &json!({"text": "x"}));
    echo().header("traceparent", &of_header).send().await.expect("answered");
    let params = json!({"name": "echo", "arguments": {"text": "x"}, "_meta": {"traceparent": of_metadata}});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    server.post(body.to_string()).header("traceparent", &of_header).send().await.expect("answered");
    echo().send().await.expect("answered");

    let during: Vec<_> = lines.with("echoing").iter().map(|line| line["span"]["trace_id"].clone()).collect();
    assert_eq!(during, [json!(traces[0]), json!(traces[1]), Value::Null]);
    let after = lines.with("called");
    assert_eq!(after[0]["trace_id"], traces[0], "{after:?}");
    assert_eq!((&after[0]["tool"], &after[0]["outcome"]), (&json!("echo"), &json!("ok")));
}

/// A store that only calls tell of.
struct Store(Arc<Guarded>);

impl Dependency for Store {
    async fn check(&self) -> Result<(), String> {
        Ok(())
    }

    fn circuit_breaker(&self) -> Option<breaker::State> {
        Some(self.0.state())
    }
}

#[tokio::test]
async fn the_state_of_a_breaker_stands_in_health_metrics_and_logs() {
    let (lines, _guard) = Lines::captured();
    let metrics = Metrics::new("tools");
    let guarded = Arc::new(Guarded::new("store", &Resilience::default(), &metrics));
    let store = Store(guarded.clone());
    let server = start(settings(), |server| server.metrics(metrics).dependency("store", store)).await;
    server.until("healthy").await;
    let shown = async |state: &str, number: u8| {
        let report = server.health().await.1;
        assert_eq!(report["dependencies"]["store"]["circuit_breaker_state"], state, "{report}");
        assert_eq!(report["metrics"]["circuit_breaker_state"], state, "{report}");
        let line = format!("mcp_tools_dependency_circuit_breaker_state{{dependency=\"store\"}} {number}");
        let metrics = server.metrics().await;
        assert!(metrics.lines().any(|found| found == line), "{line} is missing in\n{metrics}");
    };
    shown("closed", 0).await;
    for _ in 0..5 {
        let call = || async { Err::<(), _>("the disk is full") };
        guarded.call(Duration::from_secs(5), |_| Verdict::Failed, call).await.expect_err("failed");
    }
    shown("open", 2).await;
    let opened = lines.with("its circuit breaker opened: it is left alone for a while");
    assert_eq!(opened.len(), 1);
    assert_eq!(
        (&opened[0]["level"], &opened[0]["dependency"], &opened[0]["why"]),
        (&json!("WARN"), &json!("store"), &json!("the disk is full"))
    );
    guarded.heard();
    shown("closed", 0).await;
    let closed = lines.with("its circuit breaker closed: it works again");
    assert_eq!((closed.len(), &closed[0]["dependency"]), (1, &json!("store")));
}
