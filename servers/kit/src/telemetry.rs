//! Logs: one subscriber a process, on standard error.

use mcp_system_config::{Log, LogFormat, LogLevel};
use std::io::IsTerminal;
use std::sync::OnceLock;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

/// Libraries that tell of each request what only their authors need to know.
const QUIET: [&str; 6] = ["h2", "hyper", "hyper_util", "reqwest", "rmcp", "rustls"];

/// Changes the level of the installed subscriber; none where `RUST_LOG` decides it.
static LEVEL: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Installs the subscriber for the whole process. `RUST_LOG`, when set, decides the level instead.
///
/// # Errors
/// Says what `RUST_LOG` should hold, or that a subscriber is already there.
pub fn init(log: &Log) -> anyhow::Result<()> {
    let given = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
    let filter = match &given {
        Some(text) => EnvFilter::try_new(text).map_err(|error| {
            anyhow::anyhow!("the environment variable RUST_LOG is {text:?}, which cannot be used: {error}")
        })?,
        None => EnvFilter::try_new(directives(log.level))?,
    };
    let (filter, handle) = reload::Layer::new(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let installed = match log.format {
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_current_span(true).with_span_list(false);
            tracing_subscriber::registry().with(filter).with(lines).try_init()
        }
        LogFormat::Human => {
            let lines = lines.with_ansi(std::io::stderr().is_terminal());
            tracing_subscriber::registry().with(filter).with(lines).try_init()
        }
    };
    installed.map_err(|error| anyhow::anyhow!("logging is already set up: {error}"))?;
    if given.is_none() {
        let _ = LEVEL.set(handle);
    }
    Ok(())
}

/// Logs at this level from now on, unless `RUST_LOG` decides.
pub(crate) fn set_level(level: LogLevel) {
    if let (Some(filter), Ok(new)) = (LEVEL.get(), EnvFilter::try_new(directives(level))) {
        // It fails only where the subscriber is gone, and with it all logs.
        let _ = filter.reload(new);
    }
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
