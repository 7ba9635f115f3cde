//! How the memory server reaches a PostgreSQL database.

use crate::Pool;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A PostgreSQL database with pgvector, for several replicas of the memory server. The URL is like
/// `postgres://user:password@host:5432/database`; it holds a password, so it stands in a file or a variable and never
/// in the settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PostgresSettings {
    /// The file that holds the URL, such as a mounted Secret. It goes before the variable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url_file: Option<PathBuf>,
    /// The environment variable that holds the URL. Default `MCP_POSTGRES_URL`.
    pub url_env: String,
    /// The connections. By default 10 stay open, and there are at most 20.
    pub pool: Pool,
    /// Seconds that a call waits for a connection while all are in use. Default 5.
    #[schemars(range(min = 1, max = 60))]
    pub acquire_timeout_seconds: u32,
    /// A Weaviate that indexes the vectors in the database's place. The database stays the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weaviate: Option<WeaviateVectors>,
}

/// A Weaviate that indexes vectors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WeaviateVectors {
    /// Its address: http://weaviate:8080.
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,
    /// The environment variable that holds its API key. Default `WEAVIATE_API_KEY`; an empty one means no key.
    #[schemars(length(min = 1, max = 256))]
    pub api_key_env: String,
}

impl Default for WeaviateVectors {
    fn default() -> Self {
        Self { url: "http://127.0.0.1:8080".to_owned(), api_key_env: "WEAVIATE_API_KEY".to_owned() }
    }
}

impl Default for PostgresSettings {
    fn default() -> Self {
        Self {
            url_file: None,
            url_env: "MCP_POSTGRES_URL".to_owned(),
            pool: Pool { min_size: 10, max_size: 20 },
            acquire_timeout_seconds: 5,
            weaviate: None,
        }
    }
}
