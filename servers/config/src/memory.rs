//! The memory server's own settings.

use crate::environment::{self, EnvironmentError, Lookup};
use crate::{ServerKind, Settings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the memory server. Where its data lies is told on the command line (`--data`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MemorySettings {
    /// Connections to the store.
    pub pool: Pool,
    /// Hours that a session lives when its creator names no other time. Default 24.
    #[schemars(range(min = 1, max = 8760))]
    pub session_ttl_hours: u32,
    /// The largest content of one memory or message, in bytes. Default 256 KiB.
    #[schemars(range(min = 1, max = 4_194_304))]
    pub max_content_bytes: u32,
}

impl Default for MemorySettings {
    fn default() -> Self {
        Self { pool: Pool::default(), session_ttl_hours: 24, max_content_bytes: 256 << 10 }
    }
}

/// Connections that are kept to a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Pool {
    /// Connections that stay open at rest. Default 1: the embedded store opens more in microseconds.
    #[schemars(range(min = 0, max = 1000))]
    pub min_size: u32,
    /// The most connections at once; callers beyond that wait their turn. Default 20.
    #[schemars(range(min = 1, max = 1000))]
    pub max_size: u32,
}

impl Default for Pool {
    fn default() -> Self {
        Self { min_size: 1, max_size: 20 }
    }
}

impl Settings for MemorySettings {
    const KIND: ServerKind = ServerKind::Memory;

    fn apply_environment(&mut self, lookup: &Lookup<'_>) -> Result<(), EnvironmentError> {
        environment::set(lookup, "MCP_POOL_MIN_SIZE", "a number of connections", &mut self.pool.min_size)?;
        environment::set(lookup, "MCP_POOL_MAX_SIZE", "a number of connections", &mut self.pool.max_size)
    }
}
