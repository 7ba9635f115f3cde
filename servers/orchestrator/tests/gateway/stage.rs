//! Servers to stand behind a gateway, and a gateway before them, all in this process.

use crate::bench::{Bench, Earlier};
use mcp_system_config::{Backend, Callers, OrchestratorSettings, ServerConfig, ToolsSettings};
use mcp_system_kit::{Reloaded, Server, http_client};
use rmcp::model::ProtocolVersion;
use rmcp::service::RunningService;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ClientLifecycleMode, ClientServiceExt, RoleClient};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Something that serves until it is dropped or stopped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    ended: JoinHandle<()>,
}

impl Running {
    pub(crate) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    pub(crate) async fn stop(self) -> SocketAddr {
        self.stop.cancel();
        self.ended.await.expect("ended");
        self.address
    }
}

pub(crate) async fn bound(address: Option<SocketAddr>) -> (TcpListener, SocketAddr) {
    let wanted = address.unwrap_or_else(|| ([127, 0, 0, 1], 0).into());
    let listener = TcpListener::bind(wanted).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// An address at which nobody listens.
pub(crate) async fn nowhere() -> SocketAddr {
    bound(None).await.1
}

/// A server on the kit, of the latest revision.
pub(crate) async fn modern(bench: Bench, address: Option<SocketAddr>) -> Running {
    guarded(bench, address, Callers::default()).await
}

/// The same, which lets these callers in.
pub(crate) async fn guarded(bench: Bench, address: Option<SocketAddr>, callers: Callers) -> Running {
    let mut config = ServerConfig::<ToolsSettings>::of_kind();
    config.callers = callers;
    (config.shutdown.drain_seconds, config.shutdown.grace_seconds) = (0, 0);
    let (listener, address) = bound(address).await;
    let stop = CancellationToken::new();
    let stopped = stop.clone().cancelled_owned();
    let ended = tokio::spawn(async move {
        // What still runs at the end is cut off; that is what some tests want.
        let _ = Server::new(config, bench).run_on(listener, stopped).await;
    });
    Running { address, stop, ended }
}

/// A server of others: of an earlier revision, with sessions in its memory.
pub(crate) async fn sessions(bench: Bench, address: Option<SocketAddr>) -> Running {
    forgetful(bench, address).await.0
}

/// The same, with the memory that the sessions are in.
pub(crate) async fn forgetful(
    bench: Bench,
    address: Option<SocketAddr>,
) -> (Running, Arc<LocalSessionManager>) {
    let (listener, address) = bound(address).await;
    let stop = CancellationToken::new();
    let config = StreamableHttpServerConfig::default().with_cancellation_token(stop.clone());
    let earlier = Earlier(bench);
    let memory = Arc::new(LocalSessionManager::default());
    let service = StreamableHttpService::new(move || Ok(earlier.clone()), memory.clone(), config);
    let router = axum::Router::new().route_service("/mcp", service);
    let stopped = stop.clone();
    let ended = tokio::spawn(async move {
        tokio::select! {
            _ = axum::serve(listener, router) => {}
            () = stopped.cancelled() => {}
        }
    });
    (Running { address, stop, ended }, memory)
}

/// Takes connections and never says a word.
pub(crate) async fn mute() -> Running {
    let (listener, address) = bound(None).await;
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let ended = tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => open.push(accepted),
                () = stopped.cancelled() => break,
            }
        }
    });
    Running { address, stop, ended }
}

pub(crate) fn settings(backends: &[(&str, String)]) -> ServerConfig<OrchestratorSettings> {
    let mut config = ServerConfig::<OrchestratorSettings>::of_kind();
    (config.shutdown.drain_seconds, config.shutdown.grace_seconds) = (0, 1);
    config.settings.backends = backends
        .iter()
        .map(|(name, url)| Backend {
            name: (*name).to_owned(),
            url: url.clone(),
            health_url: None,
            key_file: None,
        })
        .collect();
    config
}

/// A gateway with these settings, once it is ready.
pub(crate) async fn gateway(settings: impl Into<Reloaded<OrchestratorSettings>>) -> Running {
    let settings = settings.into();
    let (listener, address) = bound(None).await;
    let stop = CancellationToken::new();
    let stopped = stop.clone().cancelled_owned();
    let ended = tokio::spawn(async move {
        let _ = mcp_system_orchestrator::serve_on(listener, settings, stopped).await;
    });
    let running = Running { address, stop, ended };
    until("the gateway is ready", || async { health(&running).await.0 == 200 }).await;
    running
}

pub(crate) fn client() -> reqwest::Client {
    http_client().expect("a client")
}

pub(crate) async fn health(running: &Running) -> (u16, Value) {
    let response = client().get(format!("http://{}/health", running.address)).send().await.expect("answered");
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

pub(crate) async fn metrics_of(running: &Running) -> String {
    let response =
        client().get(format!("http://{}/metrics", running.address)).send().await.expect("answered");
    response.text().await.expect("text")
}

/// Waits for something to become true.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, check: impl Fn() -> F) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while !check().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn eras() -> [ClientLifecycleMode; 2] {
    let preferred_versions = vec![ProtocolVersion::V_2026_07_28];
    [ClientLifecycleMode::Initialize, ClientLifecycleMode::Discover { preferred_versions }]
}

pub(crate) async fn connect(running: &Running, era: ClientLifecycleMode) -> RunningService<RoleClient, ()> {
    let config = StreamableHttpClientTransportConfig::with_uri(running.url());
    let transport = StreamableHttpClientTransport::with_client(client(), config);
    ().serve_with_lifecycle(transport, era).await.expect("connects")
}

/// One JSON-RPC request as a client of an earlier revision sends it, without any handshake.
pub(crate) fn post(running: &Running, method: &str, params: &Value) -> reqwest::RequestBuilder {
    client()
        .post(running.url())
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .body(json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string())
}

pub(crate) async fn ask(running: &Running, method: &str, params: &Value) -> Value {
    post(running, method, params).send().await.expect("answered").json().await.expect("JSON")
}

pub(crate) async fn call(running: &Running, tool: &str) -> Value {
    ask(running, "tools/call", &json!({"name": tool, "arguments": {"text": "hi"}})).await
}

pub(crate) async fn names(running: &Running) -> Vec<String> {
    let answer = ask(running, "tools/list", &json!({})).await;
    let tools = answer["result"]["tools"].as_array().cloned().unwrap_or_default();
    tools.iter().filter_map(|tool| tool["name"].as_str().map(str::to_owned)).collect()
}
