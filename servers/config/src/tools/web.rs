//! What the tools for the web may do.

use super::HttpRequest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the HTTP tool may reach. It is off until a host is allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpFetchSettings {
    /// Hosts that may be fetched from: `example.com`, or `*.example.com` for all names below it.
    /// Default none, which leaves the tool out of the list.
    #[schemars(length(max = 100), inner(length(min = 1, max = 253)))]
    pub allowed_hosts: Vec<String>,
    /// Whether the names of allowed hosts may lead to private addresses, such as those of a cluster's
    /// Services. Addresses of this machine and of a cloud's metadata stay forbidden. Default false.
    pub allow_private_addresses: bool,
    /// The largest body that is returned, in bytes. Default 1 MiB.
    #[schemars(range(min = 1, max = 104_857_600))]
    pub max_bytes: u32,
    /// Seconds after which a fetch is given up. Default 10.
    #[schemars(range(min = 1, max = 300))]
    pub timeout_seconds: u32,
}

impl Default for HttpFetchSettings {
    fn default() -> Self {
        Self {
            allowed_hosts: Vec::new(),
            allow_private_addresses: false,
            max_bytes: 1 << 20,
            timeout_seconds: 10,
        }
    }
}

/// A search engine that answers in JSON. The defaults of the names fit SearXNG.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebSearchSettings {
    /// How it is asked: a template with the placeholders {{query}} and {{limit}}, as in
    /// `url: https://search.example.com/search?q={{query}}&format=json`.
    pub request: HttpRequest,
    /// Where the list of results stands in the answer, as a JSON pointer. Default /results
    #[serde(default = "default_results")]
    #[schemars(length(max = 256))]
    pub results: String,
    /// The field of a result that holds its title. Default title
    #[serde(default = "default_title")]
    #[schemars(length(min = 1, max = 128))]
    pub title: String,
    /// The field that holds its address. Default url
    #[serde(default = "default_link")]
    #[schemars(length(min = 1, max = 128))]
    pub link: String,
    /// The field that holds a part of its text. Default content
    #[serde(default = "default_snippet")]
    #[schemars(length(min = 1, max = 128))]
    pub snippet: String,
}

fn default_results() -> String {
    "/results".to_owned()
}

fn default_title() -> String {
    "title".to_owned()
}

fn default_link() -> String {
    "url".to_owned()
}

fn default_snippet() -> String {
    "content".to_owned()
}
