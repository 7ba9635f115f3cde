//! The demo server of the tests on port 8765 (or the first argument), for trying clients against it.

#[path = "../tests/demo/mod.rs"]
mod demo;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut config = demo::settings();
    mcp_system_kit::telemetry::init(&config.log)?;
    config.listen.port = std::env::args().nth(1).map_or(Ok(8765), |port| port.parse())?;
    mcp_system_kit::Server::new(config, demo::Demo::default()).run(mcp_system_kit::shutdown_signal()).await
}
