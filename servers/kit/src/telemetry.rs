//! Logs: one subscriber a process, on standard error.

use mcp_system_config::{Log, LogFormat, LogLevel};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Libraries that tell of each request what only their authors need to know.
const QUIET: [&str; 6] = ["h2", "hyper", "hyper_util", "reqwest", "rmcp", "rustls"];

/// Installs the subscriber for the whole process. `RUST_LOG`, when set, decides the level instead.
///
/// # Errors
/// Says what `RUST_LOG` should hold, or that a subscriber is already there.
pub fn init(log: &Log) -> anyhow::Result<()> {
    let filter = match std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty()) {
        Some(text) => EnvFilter::try_new(&text).map_err(|error| {
            anyhow::anyhow!("the environment variable RUST_LOG is {text:?}, which cannot be used: {error}")
        })?,
        None => EnvFilter::try_new(directives(log.level))?,
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let installed = match log.format {
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
        LogFormat::Human => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
    };
    installed.map_err(|error| anyhow::anyhow!("logging is already set up: {error}"))
}

/// The level for the house's own crates, with libraries a step quieter.
fn directives(level: LogLevel) -> String {
    let libraries = match level {
        LogLevel::Error | LogLevel::Warn | LogLevel::Info => LogLevel::Error,
        LogLevel::Debug => LogLevel::Info,
        LogLevel::Trace => LogLevel::Trace,
    };
    let quiet = QUIET.map(|name| format!("{name}={}", libraries.name()));
    // A server that cannot be reached is an answer to who asked, and told there; here it would be an error.
    let worker = if libraries == LogLevel::Error { ",rmcp::transport::worker=off" } else { "" };
    format!("{},{}{worker}", level.name(), quiet.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_gives_directives_that_can_be_read() {
        for level in [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace] {
            EnvFilter::try_new(directives(level)).expect("readable");
        }
        assert!(
            directives(LogLevel::Info).starts_with("info,")
                && directives(LogLevel::Info).contains("rmcp=error")
        );
    }
}
