//! A real server on a port of its own, spoken to as clients do.

mod callers;
mod crowd;
#[path = "../demo/mod.rs"]
mod demo;
mod life;
mod logs;
mod profiling;
mod protocol;
mod reload;
mod slow;

use demo::Demo;
use mcp_system_config::{ServerConfig, ToolsSettings};
use mcp_system_kit::{Reloaded, Server, http_client};
use reqwest::{RequestBuilder, StatusCode};
use rmcp::model::{ProgressNotificationParam, ProtocolVersion};
use rmcp::service::{NotificationContext, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientHandler, ClientLifecycleMode, ClientServiceExt, RoleClient};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

struct Running {
    url: String,
    demo: Demo,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<anyhow::Result<()>>,
}

async fn start(config: ServerConfig<ToolsSettings>, build: impl FnOnce(Server) -> Server) -> Running {
    start_on("127.0.0.1", config.into(), build).await
}

async fn start_on(
    host: &str,
    settings: Reloaded<ToolsSettings>,
    build: impl FnOnce(Server) -> Server,
) -> Running {
    let demo = Demo::default();
    let listener = TcpListener::bind((host, 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let url = format!("http://127.0.0.1:{port}");
    let (stop, stopped) = oneshot::channel::<()>();
    let server = build(Server::new(settings, demo.clone()));
    let ended = tokio::spawn(server.run_on(listener, async move {
        let _ = stopped.await;
    }));
    Running { url, demo, stop, ended }
}

impl Running {
    async fn health(&self) -> (StatusCode, Value) {
        let response = client().get(format!("{}/health", self.url)).send().await.expect("answered");
        (response.status(), response.json().await.expect("JSON"))
    }

    async fn until(&self, status: &str) -> (StatusCode, Value) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let (code, report) = self.health().await;
            if report["status"] == status {
                return (code, report);
            }
            assert!(Instant::now() < deadline, "it did not become {status}: {report}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn post(&self, body: impl Into<reqwest::Body>) -> RequestBuilder {
        client()
            .post(format!("{}/mcp", self.url))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .body(body)
    }

    fn call(&self, tool: &str, arguments: &Value) -> RequestBuilder {
        let params = json!({"name": tool, "arguments": arguments});
        self.post(json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string())
    }

    async fn connect(&self, lifecycle: ClientLifecycleMode) -> RunningService<RoleClient, Listener> {
        let config = StreamableHttpClientTransportConfig::with_uri(format!("{}/mcp", self.url));
        let transport = StreamableHttpClientTransport::with_client(client(), config);
        Listener::default().serve_with_lifecycle(transport, lifecycle).await.expect("connects")
    }

    async fn metrics(&self) -> String {
        client()
            .get(format!("{}/metrics", self.url))
            .send()
            .await
            .expect("answered")
            .text()
            .await
            .expect("text")
    }
}

/// Waits until something was counted, or complains.
async fn counted(counter: &AtomicUsize, complaint: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while counter.load(Ordering::SeqCst) == 0 {
        assert!(Instant::now() < deadline, "{complaint}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn client() -> reqwest::Client {
    http_client().expect("a client")
}

fn eras() -> [ClientLifecycleMode; 2] {
    let preferred_versions = vec![ProtocolVersion::V_2026_07_28];
    [ClientLifecycleMode::Initialize, ClientLifecycleMode::Discover { preferred_versions }]
}

/// A client that keeps the progress that it is told.
#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Vec<f64>>>);

impl ClientHandler for Listener {
    async fn on_progress(&self, progress: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        self.0.lock().expect("not poisoned").push(progress.progress);
    }
}
