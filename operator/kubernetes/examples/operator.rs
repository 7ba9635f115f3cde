//! The operator alone, for trying it against a cluster of a developer's own: it takes the cluster that
//! KUBECONFIG names, the image as first argument and the address for health and metrics as second.

use mcp_system_kubernetes::{Options, run};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).init();
    let mut arguments = std::env::args().skip(1);
    let image = arguments.next().unwrap_or_else(|| "localhost/mcp-system:dev".to_owned());
    let listen = arguments.next().unwrap_or_else(|| "127.0.0.1:8099".to_owned()).parse()?;
    let options =
        Options { image, listen, lease_namespace: Some("default".to_owned()), ..Options::default() };
    run(options, async {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
            .unwrap_or_else(|error| panic!("signals can be caught: {error}"));
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
    })
    .await
}
