//! `http_fetch`: a document from a host that the settings allow, and from no other.

#[cfg(test)]
mod tests;

use super::HTTP;
use crate::outbound::{Answer, Clients, Outbound};
use crate::tool::{About, Call, Effect, Failure, Tool};
use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mcp_system_config::HttpFetchSettings;
use mcp_system_user_tools::hosts::AllowedHosts;
use mcp_system_user_tools::{Bounds, Request};
use reqwest::Url;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub(super) const ABOUT: About = About {
    name: "http_fetch",
    title: "Fetch a document from the web",
    category: HTTP,
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

/// The tool, with a client that can reach allowed addresses only.
#[derive(Debug)]
pub(super) struct HttpFetch(Outbound);

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
    pub(super) fn new(settings: &HttpFetchSettings, clients: &Clients) -> anyhow::Result<Self> {
        let hosts = settings.allowed_hosts.iter().map(String::as_str);
        let hosts = AllowedHosts::new(hosts, settings.allow_private_addresses)
            .map_err(anyhow::Error::msg)
            .context("httpFetch.allowedHosts")?;
        let bounds = Bounds {
            hosts,
            max_bytes: settings.max_bytes as usize,
            timeout_seconds: settings.timeout_seconds,
        };
        Ok(Self(clients.outbound(&bounds, "httpFetch.allowedHosts")?))
    }
}

impl Tool for HttpFetch {
    type Input = Fetch;
    type Output = Fetched;

    fn about(&self) -> About {
        ABOUT
    }

    async fn execute(&self, input: Fetch, _: &Call) -> Result<Fetched, Failure> {
        let url = Url::parse(&input.url)
            .map_err(|error| Failure(format!("url cannot be used: {error}; write https://host/path")))?;
        let method = match input.method {
            Method::Get => mcp_system_config::Method::Get,
            Method::Head => mcp_system_config::Method::Head,
        };
        let answer = self.0.exchange(Request { method, url, headers: Vec::new(), body: None }).await?;
        let content_type = answer.content_type().map(str::to_owned);
        let Answer { url, status, headers, body, redirects } = answer;
        let bytes = body.len();
        let (body, encoding) = text_or_base64(body, content_type.as_deref());
        Ok(Fetched { url: url.into(), status, content_type, headers, body, encoding, bytes, redirects })
    }
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
