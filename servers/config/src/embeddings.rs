//! Neural vectors beside the static ones: where they come from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Neural vectors of memories. Without any, search uses words and the static vectors that are compiled in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EmbeddingSettings {
    /// An OpenAI-compatible endpoint. At most one of endpoint and onnx.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<EndpointEmbeddings>,
    /// Weights on the server's own disk. At most one of endpoint and onnx.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub onnx: Option<OnnxEmbeddings>,
    /// A cross-encoder that looks at the best hits once more. Default none: it costs some milliseconds a hit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rerank: Option<RerankSettings>,
}

/// An OpenAI-compatible endpoint for embeddings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointEmbeddings {
    /// Its base URL, up to and with its version: https://api.example.com/v1.
    #[schemars(length(max = 2048))]
    pub url: String,
    /// The model to ask for.
    #[schemars(length(max = 256))]
    pub model: String,
    /// Numbers in a vector, for models that can be asked for fewer. Default the model's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 8192))]
    pub dimensions: Option<u32>,
    /// The environment variable that holds the key. Default EMBEDDINGS_API_KEY; an empty one means no key.
    #[schemars(length(min = 1, max = 256))]
    pub api_key_env: String,
    /// Seconds that a call may take in all, repetitions included. Default 30.
    #[schemars(range(min = 1, max = 300))]
    pub timeout_seconds: u32,
}

impl Default for EndpointEmbeddings {
    fn default() -> Self {
        Self {
            url: String::new(),
            model: String::new(),
            dimensions: None,
            api_key_env: "EMBEDDINGS_API_KEY".to_owned(),
            timeout_seconds: 30,
        }
    }
}

/// A sentence encoder of the BERT family as ONNX weights, with BERT's uncased vocabulary: all-MiniLM-L6-v2, for example.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OnnxEmbeddings {
    /// The file, as the server sees it.
    #[schemars(length(min = 1, max = 4096))]
    pub path: String,
}

/// A cross-encoder of the BERT family as ONNX weights, with BERT's uncased vocabulary: ms-marco-MiniLM, for example.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RerankSettings {
    /// The file, as the server sees it.
    #[schemars(length(min = 1, max = 4096))]
    pub path: String,
    /// How many of the best hits it looks at. Default 30.
    #[serde(default = "default_candidates")]
    #[schemars(range(min = 1, max = 200))]
    pub candidates: u32,
}

const fn default_candidates() -> u32 {
    30
}
