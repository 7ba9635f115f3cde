//! The tools server's own settings.

use crate::environment::{self, EnvironmentError, Lookup};
use crate::{ServerKind, Settings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the tools server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ToolsSettings {
    /// The cache behind `execute_cache_get`, `execute_cache_set` and `execute_cache_delete`.
    pub cache: CacheSettings,
    /// What `execute_http_fetch` may reach.
    pub http_fetch: HttpFetchSettings,
}

/// A cache in the server's memory: the least recently used entry goes first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CacheSettings {
    /// The most entries held. Default 1000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_entries: u32,
    /// Seconds that an entry lives when its writer names no other time. Default 300.
    #[schemars(range(min = 1, max = 31_536_000))]
    pub ttl_seconds: u32,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self { max_entries: 1000, ttl_seconds: 300 }
    }
}

/// What the HTTP tool may reach. It is off until a host is allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpFetchSettings {
    /// Hosts that may be fetched from: `example.com`, or `*.example.com` for all names below it.
    /// Default none, which leaves the tool out of the list.
    #[schemars(length(max = 100), inner(length(min = 1, max = 253)))]
    pub allowed_hosts: Vec<String>,
    /// The largest body that is returned, in bytes. Default 1 MiB.
    #[schemars(range(min = 1, max = 104_857_600))]
    pub max_bytes: u32,
    /// Seconds after which a fetch is given up. Default 10.
    #[schemars(range(min = 1, max = 300))]
    pub timeout_seconds: u32,
}

impl Default for HttpFetchSettings {
    fn default() -> Self {
        Self { allowed_hosts: Vec::new(), max_bytes: 1 << 20, timeout_seconds: 10 }
    }
}

impl Settings for ToolsSettings {
    const KIND: ServerKind = ServerKind::Tools;

    fn apply_environment(&mut self, lookup: &Lookup<'_>) -> Result<(), EnvironmentError> {
        environment::set(lookup, "MCP_CACHE_SIZE", "a number of entries", &mut self.cache.max_entries)?;
        environment::set(lookup, "MCP_CACHE_TTL", "a number of seconds", &mut self.cache.ttl_seconds)
    }
}
