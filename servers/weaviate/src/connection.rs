//! Calls to Weaviate: with the key, within a deadline, repeated where that is safe, behind a circuit breaker.

use crate::error::Error;
use mcp_system_config::Resilience;
use mcp_system_kit::Metrics;
use mcp_system_kit::breaker::State;
use mcp_system_kit::guarded::{Guarded, Trouble, Verdict};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// An error's text beyond this is cut.
const MAX_MESSAGE_BYTES: usize = 4 << 10;
/// What it is called in metrics and logs.
const DEPENDENCY: &str = "weaviate";

/// Where Weaviate is and how it is called.
#[derive(Clone)]
pub struct Connection {
    /// Its address, without `/v1`.
    pub url: String,
    /// The key, when it wants one.
    pub api_key: Option<String>,
    /// How long a call may take in all, repetitions included.
    pub deadline: Duration,
    /// The largest answer that is read.
    pub max_answer_bytes: usize,
    /// Repetition, breaker and places, at first.
    pub resilience: Resilience,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("url", &self.url)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// A client; share it behind a pointer.
pub struct Weaviate {
    client: reqwest::Client,
    base: Url,
    headers: HeaderMap,
    deadline: Duration,
    max_answer_bytes: usize,
    guarded: Arc<Guarded>,
}

impl std::fmt::Debug for Weaviate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Weaviate").field("url", &self.base.as_str()).finish_non_exhaustive()
    }
}

/// One call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    method: Method,
    path: Vec<String>,
    query: Vec<(&'static str, String)>,
    body: Option<Vec<u8>>,
    /// Whether making it twice is the same as making it once.
    repeatable: bool,
}

impl Call {
    /// A call that reads. The path begins after `/v1`, a part a segment.
    pub(crate) fn get(path: &[&str]) -> Self {
        Self::new(Method::GET, path, true)
    }

    pub(crate) fn new(method: Method, path: &[&str], repeatable: bool) -> Self {
        let path = path.iter().map(|part| (*part).to_owned()).collect();
        Self { method, path, query: Vec::new(), body: None, repeatable }
    }

    pub(crate) fn query(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.query.extend(value.map(|value| (name, value.to_string())));
        self
    }

    pub(crate) fn body(mut self, body: &impl serde::Serialize) -> Result<Self, Error> {
        let bytes = serde_json::to_vec(body).map_err(|error| Error::Setting(error.to_string()))?;
        self.body = Some(bytes);
        Ok(self)
    }
}

impl Weaviate {
    /// A client for this connection. Nothing is sent yet.
    pub fn new(connection: &Connection) -> Result<Self, Error> {
        let base = Url::parse(&connection.url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| {
                let url = &connection.url;
                Error::Setting(format!(
                    "the url of Weaviate is {url:?}; it must be like http://weaviate:8080"
                ))
            })?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(key) = &connection.api_key {
            let mut value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| {
                Error::Setting("the API key of Weaviate holds characters that no header can".into())
            })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let client = mcp_system_kit::http_client().map_err(|error| Error::Setting(format!("{error:#}")))?;
        Ok(Self {
            client,
            base,
            headers,
            deadline: connection.deadline,
            max_answer_bytes: connection.max_answer_bytes,
            guarded: Arc::new(Guarded::unmeasured(DEPENDENCY, &connection.resilience)),
        })
    }

    /// Has its calls, and the state of its breaker, shown in these metrics from now on.
    #[must_use]
    pub fn measured(mut self, resilience: &Resilience, metrics: &Metrics) -> Self {
        self.guarded = Arc::new(Guarded::new(DEPENDENCY, resilience, metrics));
        self
    }

    /// What stands before it, and takes changed settings.
    pub const fn guarded(&self) -> &Arc<Guarded> {
        &self.guarded
    }

    /// The state of the circuit breaker before it.
    pub fn circuit_breaker(&self) -> State {
        self.guarded.state()
    }

    /// Whether it is ready for calls, and takes the key.
    pub async fn check(&self) -> Result<(), Error> {
        self.bytes(Call::get(&[".well-known", "ready"])).await?;
        // Anybody may ask that; this takes a key, though not each that it takes may see it.
        match self.bytes(Call::get(&["meta"])).await {
            Err(error @ Error::Refused { status: 401, .. }) => Err(error),
            Err(error) if error.is_outage() => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Its version and modules.
    pub async fn meta(&self) -> Result<Value, Error> {
        self.json(Call::get(&["meta"])).await
    }

    /// Carries out a GraphQL query, and gives its `data`. Weaviate's queries only read.
    ///
    /// # Errors
    /// Also when only a part of the query failed.
    pub async fn graphql(&self, query: &str) -> Result<Value, Error> {
        let (data, errors) = self.graphql_parts(query, None, None).await?;
        if errors.is_empty() { Ok(data) } else { Err(Error::Query(errors.join("; "))) }
    }

    /// The same, with what came of a query beside the messages of what failed.
    pub async fn graphql_parts(
        &self,
        query: &str,
        variables: Option<&Value>,
        operation: Option<&str>,
    ) -> Result<(Value, Vec<String>), Error> {
        let body = serde_json::json!({"query": query, "variables": variables, "operationName": operation});
        let call = Call::new(Method::POST, &["graphql"], true).body(&body)?;
        let answer: GraphqlAnswer = self.json(call).await?;
        let errors = answer.errors.unwrap_or_default();
        Ok((answer.data.unwrap_or_default(), errors.into_iter().map(|error| error.message).collect()))
    }

    pub(crate) async fn json<T: DeserializeOwned>(&self, call: Call) -> Result<T, Error> {
        let bytes = self.bytes(call).await?;
        serde_json::from_slice(&bytes).map_err(|error| Error::Unreadable(error.to_string()))
    }

    pub(crate) async fn bytes(&self, call: Call) -> Result<Vec<u8>, Error> {
        let judge = |error: &Error| match error {
            Error::Lost { .. } if call.repeatable => Verdict::Repeatable,
            error if error.had_no_effect() => Verdict::Repeatable,
            error if error.is_outage() => Verdict::Failed,
            _ => Verdict::Answered,
        };
        let made = self.guarded.call(self.deadline, judge, || self.send(&call)).await;
        made.map_err(|trouble| match trouble {
            Trouble::Open { wait } => Error::Open(wait),
            Trouble::Exhausted { places } => Error::Full(places),
            Trouble::Late { after } => Error::Late(after),
            Trouble::Failed(error) => error,
        })
    }

    async fn send(&self, call: &Call) -> Result<Vec<u8>, Error> {
        let mut request =
            self.client.request(call.method.clone(), self.url(call)).headers(self.headers.clone());
        if let Some(body) = &call.body {
            request = request.body(body.clone());
        }
        let failed = |error: &reqwest::Error| self.failed(error);
        let mut response = request.send().await.map_err(|error| failed(&error))?;
        let status = response.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| failed(&error))? {
            if bytes.len() + chunk.len() > self.max_answer_bytes {
                return Err(Error::TooLarge { limit: self.max_answer_bytes });
            }
            bytes.extend_from_slice(&chunk);
        }
        if status.is_success() { Ok(bytes) } else { Err(refusal(status, &bytes)) }
    }

    fn url(&self, call: &Call) -> Url {
        let mut url = self.base.clone();
        // Only a URL without a host has no segments, and `new` refuses that.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(&call.path);
        }
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        url
    }

    fn failed(&self, error: &reqwest::Error) -> Error {
        let cause = innermost(error);
        if error.is_connect() {
            let url = self.base.to_string();
            Error::NotConnected { url, cause }
        } else {
            Error::Lost { cause }
        }
    }
}

#[derive(serde::Deserialize)]
struct GraphqlAnswer {
    data: Option<Value>,
    errors: Option<Vec<Message>>,
}

#[derive(serde::Deserialize)]
struct Message {
    #[serde(default)]
    message: String,
}

/// reqwest's own text names the URL and little else; what happened stands at the end of the chain.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// What an answer that is no success means.
fn refusal(status: StatusCode, body: &[u8]) -> Error {
    let message = message(body);
    let code = status.as_u16();
    let lost = |told: String| Error::Lost { cause: format!("what stands before it says {code}: {told}") };
    match code {
        401 | 403 => Error::Refused { status: code, message },
        404 => Error::Missing(message),
        // What stands before Weaviate had no answer from it, or lost it: whether the call arrived, nobody knows.
        502 | 504 => lost(message),
        // Envoy says so with the code for being busy, whether it had sent the call or not.
        503 if message.contains("reset before headers") => lost(message),
        429 | 503 => Error::Busy { status: code, message },
        _ => Error::Failed { status: code, message },
    }
}

/// The messages of an error's body: Weaviate gives a list, what stands before it may give anything.
fn message(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Body {
        error: Option<Vec<Message>>,
        message: Option<String>,
    }
    let told = serde_json::from_slice::<Body>(body).ok().and_then(|body| {
        let messages: Vec<String> = body.error.into_iter().flatten().map(|error| error.message).collect();
        if messages.is_empty() { body.message } else { Some(messages.join("; ")) }
    });
    let text = told.unwrap_or_else(|| String::from_utf8_lossy(body).trim().to_owned());
    let end = text.floor_char_boundary(MAX_MESSAGE_BYTES);
    if text.is_empty() { "no message".to_owned() } else { text[..end].to_owned() }
}

#[cfg(test)]
mod tests;
