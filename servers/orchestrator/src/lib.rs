//! One endpoint for the tools of all servers of a system, our own and those of others.
//!
//! It keeps nothing that another replica would need: lists are cached, calls are passed on. It must not know
//! what any tool does, nor Kubernetes; which servers there are stands in its settings.

mod backend;
mod connection;
mod exchange;
mod gateway;
mod headers;
mod measures;
mod names;

pub use gateway::Gateway;
use mcp_system_config::{OrchestratorSettings, ServerConfig};
use mcp_system_kit::{Metrics, Server};
use tokio::net::TcpListener;

/// Serves on the configured address until `shutdown` resolves.
///
/// # Errors
/// Says why the address cannot be bound, or that calls were cut off at the end.
pub async fn serve(
    config: ServerConfig<OrchestratorSettings>,
    shutdown: impl Future<Output = ()> + Send,
) -> anyhow::Result<()> {
    let (server, gateway) = server(config)?;
    let _watching = gateway.start();
    server.run(shutdown).await
}

/// As [`serve`], on a socket that is already bound.
///
/// # Errors
/// Tells that calls were cut off at the end.
pub async fn serve_on(
    listener: TcpListener,
    config: ServerConfig<OrchestratorSettings>,
    shutdown: impl Future<Output = ()> + Send,
) -> anyhow::Result<()> {
    let (server, gateway) = server(config)?;
    let _watching = gateway.start();
    server.run_on(listener, shutdown).await
}

fn server(
    mut config: ServerConfig<OrchestratorSettings>,
) -> anyhow::Result<(Server<OrchestratorSettings, Gateway>, Gateway)> {
    let metrics = Metrics::new("orchestrator");
    let gateway = Gateway::new(&config, &metrics)?;
    config.listen.allowed_hosts.extend(config.settings.gateway.allowed_hosts.iter().cloned());
    config.listen.allowed_origins.extend(config.settings.gateway.allowed_origins.iter().cloned());
    let (settled, leaving) = (gateway.clone(), gateway.clone());
    let server = Server::new(config, gateway.clone())
        .metrics(metrics)
        .ready_after(async move { settled.settled().await })
        .on_shutdown(async move {
            leaving.leave().await;
            Ok(())
        });
    let server = gateway.shown().fold(server, |server, (name, shown)| server.dependency(name, shown));
    Ok((server, gateway))
}
