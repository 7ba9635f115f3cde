//! The operator in this process.

use crate::arguments::Operator;
use mcp_system_config::Log;
use mcp_system_kit::{give_back_what_starting_took, shutdown_signal, telemetry};
use mcp_system_kubernetes::{Options, run};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

/// Threads that look at systems; each waits for the API server most of the time.
const WORKERS: usize = 2;

pub(crate) fn operator(arguments: Operator) -> anyhow::Result<ExitCode> {
    telemetry::init(&Log { level: arguments.log_level, format: arguments.log_format })?;
    let lease_duration = Duration::from_secs(arguments.lease_duration);
    let options = Options {
        image: arguments.image,
        namespaces: arguments.namespace,
        leader_election: !arguments.no_leader_election,
        lease_namespace: arguments.lease_namespace,
        lease_name: arguments.lease_name,
        lease_duration,
        lease_renew: lease_duration / 3,
        identity: arguments.identity,
        listen: SocketAddr::new(arguments.bind, arguments.port),
        probe_interval: Duration::from_secs(arguments.probe_interval),
        ..Options::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    runtime.block_on(async {
        tokio::spawn(give_back_what_starting_took());
        run(options, shutdown_signal()).await
    })?;
    Ok(ExitCode::SUCCESS)
}
