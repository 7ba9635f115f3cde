//! What every server's file holds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

/// Where a server listens and whom it lets in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Listen {
    /// The address to bind. Default 127.0.0.1; a container binds 0.0.0.0.
    pub host: IpAddr,
    /// The TCP port; 0 stands for the server's own default.
    pub port: u16,
    /// Names (`host` or `host:port`) that a request's Host header may carry besides loopback.
    /// Anything else is refused, which keeps a web page from reaching a local server by DNS rebinding.
    pub allowed_hosts: Vec<String>,
    /// Web origins (`https://app.example.com:443`) that browsers may call from. Default none.
    pub allowed_origins: Vec<String>,
    /// The largest request body, in bytes. All together may take as much as 32 of these, and 16 MiB at the least; any
    /// more are told to come back. Default 4 MiB.
    #[schemars(extend("x-mcp-reload" = true))]
    pub max_body_bytes: u32,
    /// The most requests to the MCP endpoint at one time; any more are told to come back. Default 1024.
    #[schemars(extend("x-mcp-reload" = true))]
    pub max_in_flight: u32,
    /// The most open connections; any more wait until one closes. Default 16384.
    pub max_connections: u32,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            max_body_bytes: 4 << 20,
            max_in_flight: 1024,
            max_connections: 16384,
        }
    }
}

/// What a server logs and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Log {
    /// The least severe level that is logged. Default info.
    #[schemars(extend("x-mcp-reload" = true))]
    pub level: LogLevel,
    /// One JSON object a line, or lines for people. Default json.
    pub format: LogFormat,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// The name that files, variables and the command line use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace]
            .into_iter()
            .find(|level| level.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| format!("{name:?} is no log level; use error, warn, info, debug or trace"))
    }
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// Lines for people, in colour on a terminal.
    Human,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "json" => Ok(Self::Json),
            "human" => Ok(Self::Human),
            _ => Err(format!("{name:?} is no log format; use json or human")),
        }
    }
}

/// How a server ends after SIGTERM: readiness fails at once, calls go on being served through the
/// drain, then new ones are refused and running ones finish within the grace period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Shutdown {
    /// Seconds for which calls are still accepted, so that routes to this server can go. Default 5.
    pub drain_seconds: u32,
    /// Seconds for running calls to finish after that. Default 20.
    pub grace_seconds: u32,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { drain_seconds: 5, grace_seconds: 20 }
    }
}

/// Profiles of the server itself: its processor time, its memory, its runtime. They are offered on 127.0.0.1 alone,
/// whatever address the server has, so that no network reaches them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Profiling {
    /// Whether they are offered. Default false.
    pub enabled: bool,
    /// Their TCP port; 0 lets the system choose one, which the log and health tell. Default the server's own port and
    /// 10000, which differs between servers of one machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 65535))]
    pub port: Option<u16>,
}

impl Profiling {
    /// The port beside this one of the server.
    pub fn port_beside(&self, own: u16) -> u16 {
        const APART: u16 = 10_000;
        self.port.unwrap_or_else(|| own.checked_add(APART).unwrap_or(own.wrapping_sub(APART)))
    }

    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How a server treats what it depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Resilience {
    /// Failures in a row after which a dependency is left alone for a while. Default 5.
    #[schemars(range(min = 1, max = 1000))]
    pub failure_threshold: u32,
    /// Seconds until a dependency that was left alone is tried again. Default 60.
    #[schemars(range(min = 1, max = 86400))]
    pub recovery_seconds: u32,
    /// How a call that can safely be repeated is repeated.
    pub retry: Retry,
    /// How many calls a dependency gets at a time.
    pub bulkhead: Bulkhead,
}

impl Default for Resilience {
    fn default() -> Self {
        Self {
            failure_threshold: 5,
            recovery_seconds: 60,
            retry: Retry::default(),
            bulkhead: Bulkhead::default(),
        }
    }
}

/// How many calls a dependency gets at a time, so that one which hangs takes no other down with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Bulkhead {
    /// The most calls to one dependency at one time. Default 256.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_concurrent_calls: u32,
    /// Milliseconds for which a further call waits for a place before it is refused. Default 1000.
    #[schemars(range(min = 0, max = 60000))]
    pub max_wait_milliseconds: u32,
}

impl Default for Bulkhead {
    fn default() -> Self {
        Self { max_concurrent_calls: 256, max_wait_milliseconds: 1000 }
    }
}

/// How a call that can safely be repeated is repeated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Retry {
    /// Tries in all, the first among them; 1 means that nothing is repeated. Default 3.
    #[schemars(range(min = 1, max = 10))]
    pub attempts: u32,
    /// Milliseconds before the first repetition; doubled for each further one. Default 100.
    #[schemars(range(min = 1, max = 60000))]
    pub min_backoff_milliseconds: u32,
    /// The longest wait between two tries, in milliseconds. Default 2000.
    #[schemars(range(min = 1, max = 60000))]
    pub max_backoff_milliseconds: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 3, min_backoff_milliseconds: 100, max_backoff_milliseconds: 2000 }
    }
}
