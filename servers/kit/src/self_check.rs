//! The server's questions to itself: a real `tools/list` over HTTP to its own endpoint. Whoever passes it
//! answers clients too.

use anyhow::{Context, anyhow, bail, ensure};
use http::HeaderMap;
use rmcp::model::{Extensions, ListToolsResult, ProtocolVersion};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use subtle::ConstantTimeEq;

/// Marks the server's own requests, so that they are not counted as those of clients.
const MARK: &str = "mcp-system-self-check";
/// After this an unanswered question counts as one that will not be answered.
const DEADLINE: Duration = Duration::from_secs(3);
/// Pages of a list that are read; more than any server here has.
const PAGES: usize = 100;

/// Asks, and recognises its own questions.
#[derive(Clone, Debug)]
pub(crate) struct SelfCheck {
    /// Random, so that nobody else can ask without a key, or keep requests out of the metrics.
    mark: Arc<str>,
    tools: Arc<RwLock<BTreeSet<String>>>,
}

impl SelfCheck {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let mut random = [0; 16];
        let source = rustls::crypto::ring::default_provider().secure_random;
        source.fill(&mut random).map_err(|_| anyhow!("the system has no random numbers"))?;
        let mark = format!("{:032x}", u128::from_ne_bytes(random));
        Ok(Self { mark: mark.into(), tools: Arc::default() })
    }

    /// Whether a request is one of these.
    pub(crate) fn asked(&self, extensions: &Extensions) -> bool {
        extensions.get::<http::request::Parts>().is_some_and(|parts| self.marked(&parts.headers))
    }

    /// Whether these are the headers of one of these.
    pub(crate) fn marked(&self, headers: &HeaderMap) -> bool {
        headers.get(MARK).is_some_and(|value| bool::from(value.as_bytes().ct_eq(self.mark.as_bytes())))
    }

    /// Whether the last answer listed a tool of this name.
    pub(crate) fn lists(&self, name: &str) -> bool {
        self.tools.read().unwrap_or_else(PoisonError::into_inner).contains(name)
    }

    /// Asks once and tells how many tools were listed.
    pub(crate) async fn ask(&self, client: &reqwest::Client, url: &str) -> anyhow::Result<usize> {
        let names = tokio::time::timeout(DEADLINE, self.names(client, url))
            .await
            .with_context(|| format!("tools/list was not answered within {} s", DEADLINE.as_secs()))??;
        let count = names.len();
        let mut tools = self.tools.write().unwrap_or_else(PoisonError::into_inner);
        if *tools != names {
            *tools = names;
        }
        Ok(count)
    }

    async fn names(&self, client: &reqwest::Client, url: &str) -> anyhow::Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        let mut cursor = None;
        for _ in 0..PAGES {
            let page = self.page(client, url, cursor.as_deref()).await?;
            names.extend(page.tools.into_iter().map(|tool| tool.name.into_owned()));
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(names);
            }
        }
        bail!("tools/list has more than {PAGES} pages")
    }

    async fn page(
        &self,
        client: &reqwest::Client,
        url: &str,
        cursor: Option<&str>,
    ) -> anyhow::Result<ListToolsResult> {
        let version = ProtocolVersion::V_2026_07_28;
        let mut params = json!({"_meta": {
            "io.modelcontextprotocol/protocolVersion": version.as_str(),
            "io.modelcontextprotocol/clientInfo": {"name": MARK, "version": env!("CARGO_PKG_VERSION")},
            "io.modelcontextprotocol/clientCapabilities": {},
        }});
        if let Some(cursor) = cursor {
            params["cursor"] = cursor.into();
        }
        let response = client
            .post(url)
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", version.as_str())
            .header("mcp-method", "tools/list")
            .header(MARK, &*self.mark)
            .json(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": params}))
            .send()
            .await
            .context("tools/list was not answered")?;
        let status = response.status();
        let text = response.text().await.context("the answer to tools/list broke off")?;
        ensure!(status.is_success(), "tools/list was answered with HTTP {status}: {text}");
        let mut answer: Value =
            serde_json::from_str(&text).context("tools/list was answered with something else")?;
        if let Some(error) = answer.get("error") {
            bail!("tools/list was answered with an error: {error}");
        }
        serde_json::from_value(answer["result"].take()).context("tools/list was answered with something else")
    }
}
