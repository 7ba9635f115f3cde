//! One endpoint for the tools of all servers of a system, our own and those of others.
//!
//! It keeps nothing that another replica would need: lists are cached, calls are passed on. It must not know
//! what any tool does, nor Kubernetes; which servers there are stands in its settings.

mod backend;
mod backends;
mod connection;
mod exchange;
mod gateway;
mod headers;
mod key;
mod measures;
mod names;

pub use gateway::Gateway;
use mcp_system_config::{GatewaySettings, OrchestratorSettings};
use mcp_system_kit::{Metrics, Reloaded, Server};
use tokio::net::TcpListener;

/// Serves on the configured address until `shutdown` resolves.
///
/// # Errors
/// Says why the address cannot be bound, or that calls were cut off at the end.
pub async fn serve(
    settings: impl Into<Reloaded<OrchestratorSettings>>,
    shutdown: impl Future<Output = ()> + Send,
) -> anyhow::Result<()> {
    let (server, gateway) = server(settings.into())?;
    let _watching = gateway.start();
    server.run(shutdown).await
}

/// As [`serve`], on a socket that is already bound.
///
/// # Errors
/// Tells that calls were cut off at the end.
pub async fn serve_on(
    listener: TcpListener,
    settings: impl Into<Reloaded<OrchestratorSettings>>,
    shutdown: impl Future<Output = ()> + Send,
) -> anyhow::Result<()> {
    let (server, gateway) = server(settings.into())?;
    let _watching = gateway.start();
    server.run_on(listener, shutdown).await
}

fn server(settings: Reloaded<OrchestratorSettings>) -> anyhow::Result<(Server, Gateway)> {
    let metrics = Metrics::new("orchestrator");
    let gateway = Gateway::new(settings.clone(), &metrics)?;
    let GatewaySettings { allowed_hosts, allowed_origins, .. } = settings.current().settings.gateway.clone();
    let (settled, leaving) = (gateway.clone(), gateway.clone());
    let server = Server::new(settings, gateway.clone())
        .metrics(metrics)
        .allow(allowed_hosts, allowed_origins)
        .dependencies(gateway.dependencies())
        .ready_after(async move { settled.settled().await })
        .on_shutdown(async move {
            leaving.leave().await;
            Ok(())
        });
    Ok((server, gateway))
}
