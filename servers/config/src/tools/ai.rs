//! Where models are reached.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An endpoint that speaks OpenAI's protocol. Each tool is off until its model is named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AiSettings {
    /// Where it is reached, up to what stands before `/embeddings`, for example https://api.openai.com/v1 or
    /// http://ollama:11434/v1. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub base_url: Option<String>,
    /// The environment variable that holds its key. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub api_key_env: Option<String>,
    /// The model that `execute_ai_embed` uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub embedding_model: Option<String>,
    /// The model that `execute_ai_complete` uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub completion_model: Option<String>,
    /// The most tokens of one completion. Default 1024.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_tokens: u32,
    /// Seconds after which a call is given up. Default 60.
    #[schemars(range(min = 1, max = 600))]
    pub timeout_seconds: u32,
}

impl Default for AiSettings {
    fn default() -> Self {
        Self {
            base_url: None,
            api_key_env: None,
            embedding_model: None,
            completion_model: None,
            max_tokens: 1024,
            timeout_seconds: 60,
        }
    }
}
