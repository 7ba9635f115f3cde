//! The tools server's own settings.

mod ai;
mod databases;
mod files;
mod user_tools;
mod web;

use crate::environment::{self, EnvironmentError, Lookup};
use crate::{ServerKind, Settings};
pub use ai::AiSettings;
pub use databases::Database;
pub use files::FileSearchSettings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
pub use user_tools::{HttpRequest, Method, NamedValue, OpenApiTools, SqlStatement, UserTool};
pub use web::{HttpFetchSettings, WebSearchSettings};

/// Settings of the tools server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ToolsSettings {
    /// The cache behind `execute_cache_get`, `execute_cache_set` and `execute_cache_delete`.
    pub cache: CacheSettings,
    /// What `execute_http_fetch` may reach.
    #[schemars(extend("x-mcp-reload" = true))]
    pub http_fetch: HttpFetchSettings,
    /// Databases that may be asked. Default none, which leaves out the tools for databases.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 20),
        extend("x-mcp-reload" = true, "x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub databases: Vec<Database>,
    /// Files that may be searched.
    #[schemars(extend("x-mcp-reload" = true))]
    pub file_search: FileSearchSettings,
    /// How the web is searched. Default not at all, which leaves out `execute_web_search`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-mcp-reload" = true))]
    pub web_search: Option<WebSearchSettings>,
    /// Where models are reached.
    #[schemars(extend("x-mcp-reload" = true))]
    pub ai: AiSettings,
    /// Tools of your own, declared without code. One that cannot work is left out and reported; the others work.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 200),
        extend("x-mcp-reload" = true, "x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub user_tools: Vec<UserTool>,
}

/// A cache in the server's memory, where the least recently used entry goes first, or in Redis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CacheSettings {
    /// The most entries held in memory. Default 1000.
    #[schemars(range(min = 1, max = 1_000_000), extend("x-mcp-reload" = true))]
    pub max_entries: u32,
    /// Seconds that an entry lives when its writer names no other time. Default 300.
    #[schemars(range(min = 1, max = 31_536_000), extend("x-mcp-reload" = true))]
    pub ttl_seconds: u32,
    /// A Redis server that holds the cache instead, for all replicas together. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<RedisSettings>,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self { max_entries: 1000, ttl_seconds: 300, redis: None }
    }
}

/// A Redis server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedisSettings {
    /// Where it is reached: redis://host:6379/0, or rediss:// for TLS. A password does not belong here.
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,
    /// The environment variable that holds the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub password_env: Option<String>,
    /// What is put before every key. Default mcp-system:cache:
    #[serde(default = "default_key_prefix")]
    #[schemars(length(max = 128))]
    pub key_prefix: String,
}

fn default_key_prefix() -> String {
    "mcp-system:cache:".to_owned()
}

impl Settings for ToolsSettings {
    const KIND: ServerKind = ServerKind::Tools;

    fn apply_environment(&mut self, lookup: &Lookup<'_>) -> Result<(), EnvironmentError> {
        environment::set(lookup, "MCP_CACHE_SIZE", "a number of entries", &mut self.cache.max_entries)?;
        environment::set(lookup, "MCP_CACHE_TTL", "a number of seconds", &mut self.cache.ttl_seconds)
    }
}
