//! `ai_embed`, `ai_complete`: models behind an endpoint that speaks OpenAI's protocol.

#[cfg(test)]
mod tests;

use super::AI;
use crate::guards;
use crate::outbound::Outbound;
use crate::stock::Stock;
use crate::tool::{About, Call, Effect, Failure, Tool};
use mcp_system_config::{AiSettings, Method};
use mcp_system_kit::guarded::Guarded;
use mcp_system_user_tools::{Bounds, Header, Request, base};
use reqwest::Url;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) const EMBED: About = About {
    name: "ai_embed",
    title: "Turn texts into vectors",
    category: AI,
    description: "Turn texts into vectors that tell how alike they are in meaning, with the embedding model that \
                  this server's operator chose.",
    keywords: &["embedding", "embeddings", "vector", "semantic", "similarity", "model"],
    effect: Effect::Reads,
    open_world: true,
};

pub(super) const COMPLETE: About = About {
    name: "ai_complete",
    title: "Ask a language model",
    category: AI,
    description: "Let the language model that this server's operator chose answer a prompt.",
    keywords: &["llm", "gpt", "chat", "completion", "generate", "summarize", "translate", "model", "prompt"],
    effect: Effect::Reads,
    open_world: true,
};

/// The largest answer: a hundred vectors as JSON are some megabytes.
const MAX_BYTES: u32 = 32 << 20;

/// The endpoint.
struct Endpoint {
    base: Url,
    key: Option<String>,
    outbound: Outbound,
    guarded: Arc<Guarded>,
}

pub(super) struct AiEmbed {
    endpoint: Endpoint,
    model: String,
}

pub(super) struct AiComplete {
    endpoint: Endpoint,
    model: String,
    max_tokens: u32,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Embed {
    /// The texts.
    #[schemars(length(min = 1, max = 100), inner(length(min = 1, max = 100_000)))]
    texts: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Embedded {
    /// The model that made them.
    model: String,
    /// How many numbers a vector has.
    dimensions: usize,
    /// A vector for each text, in order.
    vectors: Vec<Vec<f64>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Complete {
    /// What the model is asked.
    #[schemars(length(min = 1, max = 1_000_000))]
    prompt: String,
    /// How it should answer: its role and its rules.
    #[serde(default)]
    #[schemars(length(max = 100_000))]
    system: Option<String>,
    /// The most tokens of the answer; the operator's limit holds as well.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1_000_000))]
    max_tokens: Option<u32>,
    /// How free it is in its choice of words. The default is the model's.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 2.0))]
    temperature: Option<f64>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Completed {
    /// The model that answered.
    model: String,
    text: String,
    /// Why it ended: "stop", or "length" when the answer was cut off.
    #[serde(skip_serializing_if = "Option::is_none")]
    finish_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_tokens: Option<u64>,
}

impl Endpoint {
    fn new(settings: &AiSettings, stock: &Stock) -> Result<Self, String> {
        let url = settings.base_url.as_deref().ok_or("ai.baseUrl is missing")?;
        let base = base(url).map_err(|error| format!("ai.baseUrl: {error}"))?;
        let key = match &settings.api_key_env {
            Some(name) => Some(
                (stock.environment)(name)
                    .ok_or_else(|| format!("ai: the environment variable {name} is not set"))?,
            ),
            None => None,
        };
        // The operator wrote this one address, so it may be a neighbour's.
        let bounds = Bounds::new(&base, &[], true, MAX_BYTES, settings.timeout_seconds)?;
        let outbound = stock.clients.outbound(&bounds, "ai.baseUrl").map_err(|error| format!("{error:#}"))?;
        Ok(Self { base, key, outbound, guarded: stock.guards.of(guards::AI) })
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{path}", self.base.path().trim_end_matches('/')));
        let authorization = self.key.as_ref().map(|key| Header {
            name: "Authorization".into(),
            value: format!("Bearer {key}"),
            secret: true,
        });
        let request = Request {
            method: Method::Post,
            url,
            headers: authorization.into_iter().collect(),
            body: Some(("application/json".into(), body.to_string())),
        };
        let answer = self.outbound.exchange_behind(&self.guarded, request).await?;
        let text = String::from_utf8_lossy(&answer.body);
        let value: Option<Value> = serde_json::from_str(&text).ok();
        if answer.status >= 400 {
            let told =
                value.as_ref().and_then(|value| value.pointer("/error/message")).and_then(Value::as_str);
            let told: String = told.unwrap_or(&text).chars().take(1000).collect();
            return Err(Failure(format!(
                "the models' endpoint answered with status {}: {told}",
                answer.status
            )));
        }
        value.ok_or_else(|| Failure("the models' endpoint answered with something that is no JSON".into()))
    }
}

impl AiEmbed {
    pub(super) fn new(settings: &AiSettings, stock: &Stock) -> Result<Self, String> {
        let model = settings.embedding_model.clone().ok_or(
            "there is no embedding model; the operator names one with the settings ai.baseUrl and ai.embeddingModel",
        )?;
        Ok(Self { endpoint: Endpoint::new(settings, stock)?, model })
    }
}

impl AiComplete {
    pub(super) fn new(settings: &AiSettings, stock: &Stock) -> Result<Self, String> {
        let model = settings.completion_model.clone().ok_or(
            "there is no language model; the operator names one with the settings ai.baseUrl and ai.completionModel",
        )?;
        Ok(Self { endpoint: Endpoint::new(settings, stock)?, model, max_tokens: settings.max_tokens })
    }
}

impl Tool for AiEmbed {
    type Input = Embed;
    type Output = Embedded;

    fn about(&self) -> About {
        EMBED
    }

    async fn execute(&self, input: Embed, _: &Call) -> Result<Embedded, Failure> {
        let body = json!({"model": self.model, "input": input.texts, "encoding_format": "float"});
        let answer = self.endpoint.post("embeddings", &body).await?;
        let vectors = vectors(&answer, input.texts.len())?;
        let model = answer.get("model").and_then(Value::as_str).unwrap_or(&self.model).to_owned();
        Ok(Embedded { model, dimensions: vectors.first().map_or(0, Vec::len), vectors })
    }
}

/// The vectors in the order of their texts: the endpoint tells each one's place.
fn vectors(answer: &Value, count: usize) -> Result<Vec<Vec<f64>>, Failure> {
    let data = answer.get("data").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut vectors = vec![Vec::new(); count];
    for (place, item) in data.iter().enumerate() {
        let place = item
            .get("index")
            .and_then(Value::as_u64)
            .and_then(|index| usize::try_from(index).ok())
            .unwrap_or(place);
        let numbers = item.get("embedding").and_then(Value::as_array);
        if let (Some(vector), Some(numbers)) = (vectors.get_mut(place), numbers) {
            *vector = numbers.iter().filter_map(Value::as_f64).collect();
        }
    }
    if vectors.iter().any(Vec::is_empty) {
        return Err(Failure("the models' endpoint did not give a vector for each text".into()));
    }
    Ok(vectors)
}

impl Tool for AiComplete {
    type Input = Complete;
    type Output = Completed;

    fn about(&self) -> About {
        COMPLETE
    }

    async fn execute(&self, input: Complete, _: &Call) -> Result<Completed, Failure> {
        let mut messages = Vec::new();
        if let Some(system) = &input.system {
            messages.push(json!({"role": "system", "content": system}));
        }
        messages.push(json!({"role": "user", "content": input.prompt}));
        let max_tokens = input.max_tokens.map_or(self.max_tokens, |tokens| tokens.min(self.max_tokens));
        let mut body = json!({"model": self.model, "messages": messages, "max_tokens": max_tokens});
        if let Some(temperature) = input.temperature {
            body["temperature"] = temperature.into();
        }
        let answer = self.endpoint.post("chat/completions", &body).await?;
        let text = answer.pointer("/choices/0/message/content").and_then(Value::as_str);
        let text = text.ok_or_else(|| Failure("the models' endpoint gave no text".into()))?.to_owned();
        let field = |pointer: &str| answer.pointer(pointer);
        Ok(Completed {
            model: field("/model").and_then(Value::as_str).unwrap_or(&self.model).to_owned(),
            text,
            finish_reason: field("/choices/0/finish_reason").and_then(Value::as_str).map(str::to_owned),
            prompt_tokens: field("/usage/prompt_tokens").and_then(Value::as_u64),
            completion_tokens: field("/usage/completion_tokens").and_then(Value::as_u64),
        })
    }
}
