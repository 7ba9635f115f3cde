//! The tools server: a registry of small tools that agents search, look up and call.
//!
//! `tool` says what a tool is, `registry` holds them with their compiled schemas, `search` ranks them,
//! `builtin` are the ones that come with the server, `declared` those of its settings, and `handler` speaks MCP.
//! A new tool is a type that implements [`tool::Tool`] and a line in `builtin`. `outbound` and `databases` are
//! the ways to the world, each with its bounds; `guards` stand before what the settings name there. The server must not know Kubernetes, the plan, or any other
//! server; it keeps nothing that outlives it.

mod builtin;
mod cache;
mod databases;
mod declared;
mod documents;
mod files;
mod guards;
mod handler;
mod outbound;
#[cfg(test)]
mod real;
pub mod registry;
pub mod search;
mod stock;
pub mod tool;

use documents::Documents;
pub use handler::ToolsHandler;
use mcp_system_config::{Settings, ToolsSettings};
use mcp_system_kit::{Dependencies, Metrics, Reloaded, Server};
use stock::Stock;

/// Serves until `shutdown` resolves.
pub async fn serve(
    settings: impl Into<Reloaded<ToolsSettings>>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let (server, follow) = server(settings.into())?;
    tokio::select! {
        result = server.run(shutdown) => result,
        () = follow => Ok(()),
    }
}

/// The server with all its tools, and what gives it others when the settings change, or a document that they name; which
/// never ends.
fn server(settings: Reloaded<ToolsSettings>) -> anyhow::Result<(Server, impl Future<Output = ()> + Send)> {
    let metrics = Metrics::new(ToolsSettings::KIND.name());
    let mut changes = settings.subscribe();
    let first = settings.current();
    let stock = Stock::new(&first.settings, &metrics)?;
    stock.guards.set(&first.resilience);
    let mut documents = Documents::of(&first.settings);
    let dependencies = Dependencies::default();
    let handler = ToolsHandler::new(stock.registry(&first.settings)?);
    stock.show(&dependencies);
    // Kept here, so that they do not end: nobody else keeps those that no file can change.
    let kept = settings.clone();
    let server = Server::new(settings, handler.clone()).metrics(metrics).dependencies(dependencies.clone());
    let follow = async move {
        loop {
            tokio::select! {
                _ = changes.changed() => {}
                file = documents.other() => tracing::info!(file, "reading a changed OpenAPI document"),
            }
            changes.mark_unchanged();
            let config = kept.current();
            documents = Documents::of(&config.settings);
            stock.guards.set(&config.resilience);
            match stock.registry(&config.settings) {
                Ok(registry) => handler.replace(registry),
                Err(error) => tracing::error!("the tools stay as they were: {error:#}"),
            }
            stock.show(&dependencies);
        }
    };
    Ok((server, follow))
}
