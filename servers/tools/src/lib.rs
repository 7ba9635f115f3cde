//! The tools server: a registry of small tools that agents search, look up and call.
//!
//! `tool` says what a tool is, `registry` holds them with their compiled schemas, `search` ranks them,
//! `builtin` are the ones that come with the server and `handler` speaks MCP. A new tool is a type that
//! implements [`tool::Tool`] and a line in [`builtin::registry`]. The server must not know Kubernetes, the
//! plan, or any other server; it keeps nothing that outlives it.

pub mod builtin;
pub mod cache;
mod handler;
pub mod registry;
pub mod search;
pub mod tool;

pub use handler::ToolsHandler;
use mcp_system_config::{ServerConfig, Settings, ToolsSettings};
use mcp_system_kit::{Metrics, Server};

/// Serves until `shutdown` resolves.
pub async fn serve(
    config: ServerConfig<ToolsSettings>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    server(config)?.run(shutdown).await
}

/// The server with its built-in tools.
fn server(config: ServerConfig<ToolsSettings>) -> anyhow::Result<Server<ToolsSettings, ToolsHandler>> {
    let metrics = Metrics::new(ToolsSettings::KIND.name());
    let handler = ToolsHandler::new(builtin::registry(&config.settings, &metrics)?);
    Ok(Server::new(config, handler).metrics(metrics))
}
