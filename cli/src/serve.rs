//! One server in this process.

use crate::arguments::Serve;
use mcp_system_config::{
    MemorySettings, OrchestratorSettings, ServerKind, Settings, ToolsSettings, WeaviateDirectSettings,
};
use mcp_system_kit::{Overrides, Reloaded, give_back_what_starting_took, shutdown_signal, telemetry};
use std::process::ExitCode;

/// Threads that serve requests. A server waits for others far more than it computes, and each thread costs
/// memory in every server of a system.
const WORKERS: usize = 2;

pub(crate) fn serve(options: &Serve) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    runtime.block_on(async {
        // Taken first: the first process of a container loses a signal that comes before.
        let shutdown = shutdown_signal();
        tokio::spawn(give_back_what_starting_took());
        match options.server {
            ServerKind::Orchestrator => {
                let settings = settings::<OrchestratorSettings>(options)?;
                mcp_system_orchestrator::serve(settings, shutdown).await
            }
            ServerKind::Memory => {
                let settings = settings::<MemorySettings>(options)?;
                mcp_system_memory::serve(settings, &options.data, shutdown).await
            }
            ServerKind::Tools => {
                let settings = settings::<ToolsSettings>(options)?;
                mcp_system_tools::serve(settings, shutdown).await
            }
            ServerKind::WeaviateDirect => {
                let settings = settings::<WeaviateDirectSettings>(options)?;
                mcp_system_weaviate_direct::serve(settings, shutdown).await
            }
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Reads the settings, and logs from here on as they say.
fn settings<S: Settings>(options: &Serve) -> anyhow::Result<Reloaded<S>> {
    let environment = |name: &str| std::env::var(name).ok();
    let overrides = Overrides { host: options.bind, port: options.port };
    let settings = Reloaded::load(options.config.as_deref(), environment, overrides)?;
    telemetry::init(&settings.current().log)?;
    Ok(settings)
}
