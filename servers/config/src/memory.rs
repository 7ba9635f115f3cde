//! The memory server's own settings.

use crate::environment::{self, EnvironmentError, Lookup};
use crate::{EmbeddingSettings, PostgresSettings, ServerKind, Settings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The file in a data directory that tells that all it holds was moved into another store.
pub const MOVED_FILE: &str = "moved.json";

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
    /// What a write to the embedded store survives once it is acknowledged. Default full.
    #[serde(skip_serializing_if = "is_default")]
    pub synchronous: Synchronous,
    /// The most writes that the embedded store puts into one transaction, and the most memories of one call.
    /// Default 100.
    #[schemars(range(min = 1, max = 10_000))]
    #[serde(skip_serializing_if = "is_default_batch_size")]
    pub batch_size: u32,
    /// What is kept in memory for repeated calls.
    #[schemars(extend("x-mcp-reload" = true))]
    #[serde(skip_serializing_if = "is_default")]
    pub cache: MemoryCache,
    /// Mebibytes that the search indexes of all agents may take; beyond that, those that were not used for longest go
    /// and are loaded again when they are needed. Default 256.
    #[schemars(range(min = 1, max = 1_048_576))]
    #[serde(skip_serializing_if = "is_default_index_megabytes")]
    pub index_megabytes: u32,
    /// Neural models that take part in search.
    #[schemars(extend("x-mcp-reload" = true))]
    #[serde(skip_serializing_if = "is_default")]
    pub embeddings: EmbeddingSettings,
    /// The database that memories are kept in, instead of the embedded store. Written by the plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub postgres: Option<PostgresSettings>,
}

// A setting that came later is not written as long as it has its default: the file of a system that does not use it
// stays as it was, and an upgrade restarts nothing.
const BATCH_SIZE: u32 = 100;
const INDEX_MEGABYTES: u32 = 256;

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands in a reference")]
fn is_default_batch_size(size: &u32) -> bool {
    *size == BATCH_SIZE
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands in a reference")]
fn is_default_index_megabytes(megabytes: &u32) -> bool {
    *megabytes == INDEX_MEGABYTES
}

/// Caches of the memory server: one of memories, and one of answers to searches with half as many entries that live half
/// as long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MemoryCache {
    /// The most memories; half as many answers. Default 1000.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub max_entries: u32,
    /// Seconds that an answer lives; a memory lives twice as long. Default 300.
    #[schemars(range(min = 1, max = 31_536_000))]
    pub ttl_seconds: u32,
}

impl Default for MemoryCache {
    fn default() -> Self {
        Self { max_entries: 1000, ttl_seconds: 300 }
    }
}

impl Default for MemorySettings {
    fn default() -> Self {
        Self {
            pool: Pool::default(),
            session_ttl_hours: 24,
            max_content_bytes: 256 << 10,
            synchronous: Synchronous::Full,
            batch_size: BATCH_SIZE,
            postgres: None,
            cache: MemoryCache::default(),
            index_megabytes: INDEX_MEGABYTES,
            embeddings: EmbeddingSettings::default(),
        }
    }
}

/// What an acknowledged write to the embedded store survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Synchronous {
    /// The end of the process and a power cut: each write waits for the disk.
    #[default]
    Full,
    /// The end of the process, but the last writes may be lost in a power cut. Faster.
    Normal,
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
        environment::set(lookup, "MCP_POOL_MAX_SIZE", "a number of connections", &mut self.pool.max_size)?;
        if let Some(postgres) = &mut self.postgres {
            let pool = &mut postgres.pool;
            environment::set(lookup, "MCP_POOL_MIN_SIZE", "a number of connections", &mut pool.min_size)?;
            environment::set(lookup, "MCP_POOL_MAX_SIZE", "a number of connections", &mut pool.max_size)?;
        }
        environment::set(lookup, "MCP_BATCH_SIZE", "a number of writes", &mut self.batch_size)?;
        environment::set(lookup, "MCP_CACHE_SIZE", "a number of entries", &mut self.cache.max_entries)?;
        environment::set(lookup, "MCP_CACHE_TTL", "a number of seconds", &mut self.cache.ttl_seconds)
    }
}
