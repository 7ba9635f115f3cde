//! `http_fetch`: a document from a host that the settings allow, and from no other.

mod address;
mod hosts;
mod resolver;
#[cfg(test)]
mod tests;

use super::NETWORK;
use crate::tool::{About, Effect, Failure, Tool};
use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hosts::{AllowedHosts, host_of};
use mcp_system_config::HttpFetchSettings;
use reqwest::header::{CONTENT_TYPE, HeaderMap, LOCATION, SET_COOKIE};
use reqwest::{Client, Response, Url};
use resolver::{Checked, Lookup};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub(super) const ABOUT: About = About {
    name: "http_fetch",
    title: "Fetch a document from the web",
    category: NETWORK,
    description: "Get a document by its http or https address, from the hosts that this server's operator \
                  allows. Text comes as text, anything else as base64. Redirects are followed as long as \
                  they stay on allowed hosts.",
    keywords: &["download", "url", "web", "page", "website", "request", "api", "internet", "head", "get"],
    effect: Effect::Reads,
    open_world: true,
};

/// Why it is off until the settings say otherwise.
pub(super) const DISABLED: &str =
    "no host may be fetched from; the operator allows hosts with the setting httpFetch.allowedHosts";

const MAX_REDIRECTS: usize = 5;

/// The tool, with a client of its own that can reach allowed addresses only.
#[derive(Debug)]
pub(super) struct HttpFetch {
    client: Client,
    hosts: AllowedHosts,
    max_bytes: usize,
    timeout: Duration,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Fetch {
    /// The address, for example "https://example.com/page".
    #[schemars(length(min = 1, max = 8192))]
    url: String,
    /// GET for the document, HEAD for what is said about it only.
    #[serde(default)]
    method: Method,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
enum Method {
    #[default]
    #[serde(rename = "GET")]
    Get,
    #[serde(rename = "HEAD")]
    Head,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Fetched {
    /// Where the document came from, after all redirects.
    url: String,
    /// The HTTP status; one of 400 and above means that the body tells of a failure.
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    /// The response's headers, cookies left out.
    headers: BTreeMap<String, String>,
    /// The document.
    body: String,
    encoding: Encoding,
    /// Bytes of the document.
    bytes: usize,
    /// The addresses that led to another, in order.
    redirects: Vec<String>,
}

/// How the body is written.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    Text,
    Base64,
}

impl HttpFetch {
    pub(super) fn new(settings: &HttpFetchSettings) -> anyhow::Result<Self> {
        Self::with_lookup(settings, resolver::system())
    }

    fn with_lookup(settings: &HttpFetchSettings, lookup: Lookup) -> anyhow::Result<Self> {
        mcp_system_kit::install_crypto();
        let hosts = AllowedHosts::new(&settings.allowed_hosts)?;
        let resolver = Arc::new(Checked { hosts: hosts.clone(), lookup });
        let timeout = Duration::from_secs(settings.timeout_seconds.into());
        let builder = || {
            Client::builder()
                .dns_resolver(resolver.clone())
                // A proxy would resolve names in its own way, past the checks.
                .no_proxy()
                // Each hop is checked here, not in the client.
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(timeout)
                .user_agent(concat!("mcp-system/", env!("CARGO_PKG_VERSION")))
        };
        let client = builder().build().or_else(|error| {
            tracing::warn!(%error, "the system's certificates cannot be read; https will be refused");
            builder().tls_certs_only([]).build()
        });
        let client = client.context("no HTTP client can be built")?;
        Ok(Self { client, hosts, max_bytes: settings.max_bytes as usize, timeout })
    }

    /// Follows redirects, each checked as the first address was.
    async fn fetch(&self, input: &Fetch) -> Result<Fetched, Failure> {
        let mut url = Url::parse(&input.url)
            .map_err(|error| Failure(format!("url cannot be used: {error}; write https://host/path")))?;
        let mut redirects = Vec::new();
        loop {
            self.check(&url)?;
            let request = match input.method {
                Method::Get => self.client.get(url.clone()),
                Method::Head => self.client.head(url.clone()),
            };
            let response = request.send().await.map_err(|error| failed(&url, &error))?;
            let Some(next) = next(&url, &response) else {
                return self.read(url, response, redirects).await;
            };
            if redirects.len() == MAX_REDIRECTS {
                return Err(Failure(format!("more than {MAX_REDIRECTS} redirects, the last to {next}")));
            }
            redirects.push(url.into());
            url = next;
        }
    }

    /// Whether an address may be fetched, as far as its text tells.
    fn check(&self, url: &Url) -> Result<(), Failure> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Failure(format!("{url} cannot be fetched: only http and https can")));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Failure("url holds a user name or a password: leave it out".to_owned()));
        }
        let host = host_of(url).unwrap_or_default();
        match self.hosts.reach(&host) {
            Some(_) => Ok(()),
            None => Err(Failure(format!(
                "{host} is not among the hosts that this server's operator allows; the setting is \
                 httpFetch.allowedHosts"
            ))),
        }
    }

    async fn read(
        &self,
        url: Url,
        mut response: Response,
        redirects: Vec<String>,
    ) -> Result<Fetched, Failure> {
        let too_large = || {
            Failure(format!(
                "{url} is larger than the {} bytes that this server's operator allows",
                self.max_bytes
            ))
        };
        if response.content_length().is_some_and(|bytes| bytes > self.max_bytes as u64) {
            return Err(too_large());
        }
        let status = response.status().as_u16();
        let headers = told(response.headers());
        let content_type = headers.get(CONTENT_TYPE.as_str()).cloned();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| failed(&url, &error))? {
            if body.len() + chunk.len() > self.max_bytes {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        let bytes = body.len();
        let (body, encoding) = text_or_base64(body, content_type.as_deref());
        Ok(Fetched { url: url.into(), status, content_type, headers, body, encoding, bytes, redirects })
    }
}

impl Tool for HttpFetch {
    type Input = Fetch;
    type Output = Fetched;

    fn about(&self) -> About {
        ABOUT
    }

    async fn execute(&self, input: Fetch) -> Result<Fetched, Failure> {
        tokio::time::timeout(self.timeout, self.fetch(&input)).await.unwrap_or_else(|_| {
            let seconds = self.timeout.as_secs();
            Err(Failure(format!("{} did not answer in full within {seconds} seconds", input.url)))
        })
    }
}

/// Where a response leads on to, when it does.
fn next(url: &Url, response: &Response) -> Option<Url> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    url.join(location).ok()
}

fn told(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut told = BTreeMap::<String, String>::new();
    for (name, value) in headers.iter().filter(|(name, _)| **name != SET_COOKIE) {
        let value = String::from_utf8_lossy(value.as_bytes());
        told.entry(name.to_string())
            .and_modify(|values| *values = format!("{values}, {value}"))
            .or_insert_with(|| value.into_owned());
    }
    told
}

/// Text where it is some, in whichever charset: a model reads a text with a few wrong letters, not base64.
fn text_or_base64(body: Vec<u8>, content_type: Option<&str>) -> (String, Encoding) {
    match String::from_utf8(body) {
        Ok(text) => (text, Encoding::Text),
        Err(error) if content_type.is_some_and(|kind| kind.starts_with("text/")) => {
            (String::from_utf8_lossy(error.as_bytes()).into_owned(), Encoding::Text)
        }
        Err(error) => (STANDARD.encode(error.as_bytes()), Encoding::Base64),
    }
}

/// An error with its causes: the client's own text says only that something went wrong.
fn failed(url: &Url, error: &reqwest::Error) -> Failure {
    let mut causes = String::new();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        causes = format!(": {cause}");
        source = cause.source();
    }
    Failure(format!("{url} could not be fetched{causes}"))
}
