//! Where memories are kept.

use crate::rules;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where memories are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::storage()))]
pub struct Storage {
    /// Embedded (a volume of the memory server's own) or Postgres. Default Embedded.
    #[serde(rename = "type")]
    pub type_: StorageType,
    /// The volume of embedded storage.
    pub embedded: EmbeddedStorage,
    /// The database of Postgres storage. What embedded storage held is moved there before the first server starts
    /// on it, and the volume claim stays as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postgres: Option<PostgresStorage>,
}

/// The kind of storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StorageType {
    /// A volume of the memory server's own; needs nothing installed, holds one replica.
    #[default]
    Embedded,
    /// PostgreSQL with pgvector; holds any number of replicas.
    Postgres,
}

/// The volume of embedded storage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::embedded_storage()))]
pub struct EmbeddedStorage {
    /// Its size. Default 1Gi.
    #[schemars(length(min = 1, max = 32))]
    pub size: String,
    /// Its StorageClass. Default the cluster's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
    /// What becomes of it when the McpSystem is deleted. Default Retain: the memories are there again
    /// when a system of the same name is created.
    pub reclaim_policy: ReclaimPolicy,
}

impl Default for EmbeddedStorage {
    fn default() -> Self {
        Self { size: "1Gi".to_owned(), storage_class_name: None, reclaim_policy: ReclaimPolicy::default() }
    }
}

/// What becomes of a volume claim when its McpSystem is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReclaimPolicy {
    /// It stays.
    #[default]
    Retain,
    /// It goes with the system.
    Delete,
}

/// How a PostgreSQL database is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PostgresStorage {
    /// The key of a Secret that holds the connection URL, such as `postgres://user:password@host:5432/database`. On a
    /// laptop it is taken from the environment variable `MCP_POSTGRES_URL`, or from the file whose path stands in
    /// `MCP_POSTGRES_URL_FILE`.
    pub url_secret: SecretKey,
    /// A Weaviate that indexes the neural vectors in the database's place. The database stays the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weaviate: Option<WeaviateIndex>,
}

/// A Weaviate that indexes vectors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WeaviateIndex {
    /// Its address: http://weaviate:8080.
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,
    /// The key of a Secret that holds its API key; without it no key is sent. On a laptop it is taken from the
    /// environment variable `WEAVIATE_API_KEY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_secret: Option<SecretKey>,
}

/// One key of a Secret in the system's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in it.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
    /// Whether a missing Secret or key is no error. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optional: Option<bool>,
}
