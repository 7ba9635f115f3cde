//! One server in this process.

use crate::arguments::Serve;
use mcp_system_config::{
    MemorySettings, OrchestratorSettings, ServerConfig, ServerKind, Settings, ToolsSettings,
};
use mcp_system_kit::load::Overrides;
use mcp_system_kit::{load, shutdown_signal, telemetry};
use std::process::ExitCode;

/// Threads that serve requests. A server waits for others far more than it computes, and each thread costs
/// memory in every server of a system.
const WORKERS: usize = 2;

pub(crate) fn serve(options: &Serve) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    runtime.block_on(async {
        match options.server {
            ServerKind::Orchestrator => {
                let config = settings::<OrchestratorSettings>(options)?;
                mcp_system_orchestrator::serve(config, shutdown_signal()).await
            }
            ServerKind::Memory => {
                let config = settings::<MemorySettings>(options)?;
                mcp_system_memory::serve(config, &options.data, shutdown_signal()).await
            }
            ServerKind::Tools => {
                let config = settings::<ToolsSettings>(options)?;
                mcp_system_tools::serve(config, shutdown_signal()).await
            }
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Reads the settings, and logs from here on as they say.
fn settings<S: Settings>(options: &Serve) -> anyhow::Result<ServerConfig<S>> {
    let environment = |name: &str| std::env::var(name).ok();
    let overrides = Overrides { host: options.bind, port: options.port };
    let config = load(options.config.as_deref(), &environment, overrides)?;
    telemetry::init(&config.log)?;
    Ok(config)
}
