//! The weaviate-direct server: a Weaviate database as tools.
//!
//! `arguments` says what the tools take and makes it into values of the client, `answers` what they give back,
//! `handler` speaks MCP. Weaviate itself is called by the crate `mcp-system-weaviate`. The server must not
//! know Kubernetes, the plan, or any other server; it keeps nothing but what it was told of the schema a moment ago.

mod answers;
mod arguments;
mod failure;
mod handler;
mod schemas;

use anyhow::Context;
pub use handler::WeaviateHandler;
use mcp_system_config::{Settings, WeaviateDirectSettings};
use mcp_system_kit::breaker::State;
use mcp_system_kit::{Dependency, Metrics, Reloaded, Server};
use mcp_system_weaviate::{Connection, Weaviate};
use std::sync::Arc;
use std::time::Duration;

/// Serves until `shutdown` resolves, with the API key that the environment holds.
pub async fn serve(
    settings: impl Into<Reloaded<WeaviateDirectSettings>>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let settings = settings.into();
    let key = std::env::var(&settings.current().settings.api_key_env).ok().filter(|key| !key.is_empty());
    server(settings, key)?.run(shutdown).await
}

/// The server, with this API key.
pub fn server(
    settings: impl Into<Reloaded<WeaviateDirectSettings>>,
    api_key: Option<String>,
) -> anyhow::Result<Server> {
    let settings = settings.into();
    let config = settings.current();
    let connection = Connection {
        url: config.settings.url.clone(),
        api_key,
        deadline: Duration::from_secs(config.settings.timeout_seconds.into()),
        max_answer_bytes: config.settings.max_answer_bytes as usize,
        resilience: config.resilience.clone(),
    };
    let metrics = Metrics::new(WeaviateDirectSettings::KIND.name());
    let weaviate = Weaviate::new(&connection).context("settings.url or the API key cannot be used")?;
    let weaviate = Arc::new(weaviate.measured(&config.resilience, &metrics));
    let handler = WeaviateHandler::new(weaviate.clone(), &config.settings);
    let guarded = weaviate.guarded().clone();
    let server = Server::new(settings, handler).metrics(metrics).guarded(guarded);
    Ok(server.dependency("weaviate", Database(weaviate)))
}

/// Weaviate as this server's health shows it.
struct Database(Arc<Weaviate>);

impl Dependency for Database {
    async fn check(&self) -> Result<(), String> {
        self.0.check().await.map_err(|error| error.to_string())
    }

    fn circuit_breaker(&self) -> Option<State> {
        Some(self.0.circuit_breaker())
    }
}
