//! A gateway on the port of the first argument before the servers of the others (`name=url`), for trying
//! clients and foreign servers.

use anyhow::Context;
use mcp_system_config::{Backend, OrchestratorSettings, ServerConfig};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut config = ServerConfig::<OrchestratorSettings>::of_kind();
    mcp_system_kit::telemetry::init(&config.log)?;
    let mut arguments = std::env::args().skip(1);
    config.listen.port = arguments.next().context("usage: gateway PORT NAME=URL...")?.parse()?;
    config.shutdown.drain_seconds = 0;
    for argument in arguments {
        let (name, url) = argument.split_once('=').context("a server is NAME=URL")?;
        config.settings.backends.push(Backend {
            name: name.to_owned(),
            url: url.to_owned(),
            health_url: None,
            key_file: None,
        });
    }
    mcp_system_orchestrator::serve(config, mcp_system_kit::shutdown_signal()).await
}
