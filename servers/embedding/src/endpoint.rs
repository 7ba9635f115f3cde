//! An OpenAI-compatible endpoint: `POST /embeddings` with a model and texts.

use crate::Error;
use mcp_system_config::{EndpointEmbeddings, Lookup, Resilience};
use mcp_system_kit::Metrics;
use mcp_system_kit::breaker::State;
use mcp_system_kit::guarded::{Guarded, Trouble, Verdict};
use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// An answer beyond this is given up: 50 texts of 4096 numbers, as text.
const MAX_ANSWER_BYTES: usize = 16 << 20;
/// An error's text beyond this is cut.
const MAX_MESSAGE_CHARACTERS: usize = 300;
/// What it is called in metrics and logs.
const DEPENDENCY: &str = "embeddings";

/// The endpoint, with a guard of its own.
pub struct Endpoint {
    client: reqwest::Client,
    url: String,
    key: Option<HeaderValue>,
    request_model: String,
    dimensions: Option<u32>,
    /// What vectors are kept under: other dimensions are another model.
    model: String,
    deadline: Duration,
    guarded: Arc<Guarded>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("url", &self.url).field("model", &self.model).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    index: usize,
    embedding: Vec<f32>,
}

impl Endpoint {
    /// A client for these settings. Nothing is sent yet.
    ///
    /// # Errors
    /// Says what is wrong with the URL, the model or the key.
    pub fn new(
        settings: &EndpointEmbeddings,
        resilience: &Resilience,
        environment: &Lookup<'_>,
    ) -> Result<Self, Error> {
        let url = settings.url.trim_end_matches('/');
        let parsed = reqwest::Url::parse(url).ok();
        if !parsed.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
            return Err(Error::Setting(format!(
                "the url of the embeddings endpoint is {url:?}; it must be like https://api.example.com/v1"
            )));
        }
        if settings.model.is_empty() {
            return Err(Error::Setting(
                "embeddings.endpoint.model is empty; name the model to ask for".into(),
            ));
        }
        let key = environment(&settings.api_key_env).filter(|key| !key.is_empty());
        let key = key.map(|key| bearer(&key, &settings.api_key_env)).transpose()?;
        let width = settings.dimensions.map(|dimensions| format!("/{dimensions}")).unwrap_or_default();
        Ok(Self {
            client: mcp_system_kit::http_client().map_err(|error| Error::Setting(format!("{error:#}")))?,
            url: format!("{url}/embeddings"),
            key,
            request_model: settings.model.clone(),
            dimensions: settings.dimensions,
            model: format!("{}{width}", settings.model),
            deadline: Duration::from_secs(settings.timeout_seconds.into()),
            guarded: Arc::new(Guarded::unmeasured(DEPENDENCY, resilience)),
        })
    }

    pub(crate) fn measure(&mut self, resilience: &Resilience, metrics: &Metrics) {
        self.guarded = Arc::new(Guarded::new(DEPENDENCY, resilience, metrics));
    }

    /// What stands before it, and takes changed settings.
    pub const fn guarded(&self) -> &Arc<Guarded> {
        &self.guarded
    }

    pub(crate) fn model(&self) -> &str {
        &self.model
    }

    /// The state of the circuit breaker before it.
    pub fn circuit_breaker(&self) -> State {
        self.guarded.state()
    }

    /// One request, repeated where that may help, within one deadline. Making vectors changes nothing, so it is always
    /// safe to repeat.
    pub(crate) async fn embed(&self, texts: Vec<String>) -> Result<Vec<Vec<f32>>, Error> {
        let mut body = json!({"model": self.request_model, "input": texts, "encoding_format": "float"});
        if let Some(dimensions) = self.dimensions {
            body["dimensions"] = dimensions.into();
        }
        // What does not pass was refused for what was asked: the endpoint itself works.
        let judge = |error: &Error| if error.passing() { Verdict::Repeatable } else { Verdict::Answered };
        let asked = self.guarded.call(self.deadline, judge, || self.ask(&body, texts.len())).await;
        asked.map_err(|trouble| match trouble {
            Trouble::Open { wait } => Error::Open(wait),
            Trouble::Exhausted { places } => Error::Full(places),
            Trouble::Late { after } => Error::Late(after),
            Trouble::Failed(error) => error,
        })
    }

    async fn ask(&self, body: &serde_json::Value, count: usize) -> Result<Vec<Vec<f32>>, Error> {
        let mut request = self.client.post(&self.url).json(body);
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, key.clone());
        }
        let failed = |error: reqwest::Error| Error::Endpoint(error.without_url().to_string());
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if bytes.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(Error::Answer(format!("the answer is larger than {MAX_ANSWER_BYTES} bytes")));
            }
            bytes.extend_from_slice(&chunk);
        }
        if !status.is_success() {
            let text: String = String::from_utf8_lossy(&bytes).chars().take(MAX_MESSAGE_CHARACTERS).collect();
            let message = format!("HTTP {status}: {text}");
            let again = status.is_server_error()
                || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
            return Err(if again { Error::Endpoint(message) } else { Error::Answer(message) });
        }
        let answer: Answer =
            serde_json::from_slice(&bytes).map_err(|error| Error::Answer(error.to_string()))?;
        in_order(answer.data, count)
    }
}

fn bearer(key: &str, variable: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", key.trim()))
        .map_err(|_| Error::Setting(format!("the key in {variable} holds characters that no header can")))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Each text's vector at the text's place: answers may come in any order.
fn in_order(entries: Vec<Entry>, count: usize) -> Result<Vec<Vec<f32>>, Error> {
    let mut vectors = vec![None; count];
    for Entry { index, embedding } in entries {
        match vectors.get_mut(index) {
            Some(place @ None) => *place = Some(embedding),
            _ => return Err(Error::Answer(format!("there is a vector too many, at index {index}"))),
        }
    }
    vectors
        .into_iter()
        .enumerate()
        .map(|(index, vector)| {
            vector.ok_or_else(|| Error::Answer(format!("there is no vector for text {index}")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: usize) -> Entry {
        #[allow(clippy::cast_precision_loss)]
        let embedding = vec![index as f32];
        Entry { index, embedding }
    }

    #[test]
    fn answers_are_put_in_order() {
        let vectors = in_order(vec![entry(2), entry(0), entry(1)], 3).expect("complete");
        assert_eq!(vectors, [[0.0], [1.0], [2.0]]);
    }

    #[test]
    fn an_answer_with_holes_or_doubles_is_refused() {
        assert!(in_order(vec![entry(0)], 2).is_err());
        assert!(in_order(vec![entry(0), entry(0)], 2).is_err());
        assert!(in_order(vec![entry(0), entry(1)], 1).is_err());
    }

    #[test]
    fn a_setting_that_cannot_be_used_is_named() {
        let new = |url: &str, model: &str, key: Option<&str>| {
            let settings = EndpointEmbeddings { url: url.into(), model: model.into(), ..Default::default() };
            let lookup = |_: &str| key.map(str::to_owned);
            Endpoint::new(&settings, &Resilience::default(), &lookup)
                .map(|_| ())
                .map_err(|error| error.to_string())
        };
        assert_eq!(new("http://localhost:1/v1/", "m", Some("k")), Ok(()));
        assert!(new("localhost", "m", None).expect_err("no URL").contains("\"localhost\""));
        assert!(
            new("http://localhost:1", "", None).expect_err("no model").contains("embeddings.endpoint.model")
        );
        assert!(
            new("http://localhost:1", "m", Some("a\nb")).expect_err("no key").contains("EMBEDDINGS_API_KEY")
        );
    }
}
