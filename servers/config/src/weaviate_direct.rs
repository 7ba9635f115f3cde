//! The weaviate-direct server's own settings.

use crate::environment::{self, EnvironmentError, Lookup};
use crate::{ServerKind, Settings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the weaviate-direct server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WeaviateDirectSettings {
    /// Where Weaviate is reached, without `/v1`. Default http://weaviate:8080.
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,
    /// The environment variable that holds the API key; without a value no key is sent. Default
    /// WEAVIATE_API_KEY.
    #[schemars(length(min = 1, max = 253))]
    pub api_key_env: String,
    /// Seconds that a call to Weaviate may take, repetitions included. Default 30.
    #[schemars(range(min = 1, max = 600))]
    pub timeout_seconds: u32,
    /// The largest answer of Weaviate that is taken, in bytes. Default 16 MiB.
    #[schemars(range(min = 1024, max = 268_435_456))]
    pub max_answer_bytes: u32,
    /// Objects that a search or a list returns when the caller names no number. Default 10.
    #[schemars(range(min = 1, max = 10_000))]
    pub default_limit: u32,
    /// The most objects of one search, list or batch. Default 1000.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_limit: u32,
}

impl Default for WeaviateDirectSettings {
    fn default() -> Self {
        Self {
            url: "http://weaviate:8080".to_owned(),
            api_key_env: "WEAVIATE_API_KEY".to_owned(),
            timeout_seconds: 30,
            max_answer_bytes: 16 << 20,
            default_limit: 10,
            max_limit: 1000,
        }
    }
}

impl Settings for WeaviateDirectSettings {
    const KIND: ServerKind = ServerKind::WeaviateDirect;

    fn apply_environment(&mut self, lookup: &Lookup<'_>) -> Result<(), EnvironmentError> {
        environment::set(lookup, "WEAVIATE_URL", "a URL", &mut self.url)
    }
}
