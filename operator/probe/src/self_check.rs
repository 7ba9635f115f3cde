//! What one of this project's own servers tells of itself: it sends itself MCP requests all the time, and needs
//! no key for telling what came of them.

use crate::Answer;
use anyhow::{Context, bail, ensure};
use serde::Deserialize;

/// A health report larger than this is none.
const MAX_BYTES: usize = 1 << 20;

/// The part of a health report that tells of it.
#[derive(Deserialize)]
struct Report {
    status: String,
    version: Option<String>,
    tools: Option<u32>,
    message: Option<String>,
    #[serde(default)]
    protocol_versions: Vec<String>,
}

pub(crate) async fn converse(client: &reqwest::Client, url: &str) -> anyhow::Result<Answer> {
    let mut response = client.get(url).send().await.context("it gives no answer about its health")?;
    let code = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.context("its answer about its health broke off")? {
        body.extend_from_slice(&chunk);
        ensure!(body.len() <= MAX_BYTES, "its answer about its health has more than {MAX_BYTES} bytes");
    }
    let report: Report = match serde_json::from_slice(&body) {
        Ok(report) => report,
        Err(_) => bail!("its answer about its health (HTTP {code}) is no health report"),
    };
    if !code.is_success() {
        let why = report.message.map(|message| format!(": {message}")).unwrap_or_default();
        bail!("it is {}{why}", report.status);
    }
    let tools =
        report.tools.with_context(|| format!("it is {}, but has not answered itself", report.status))?;
    Ok(Answer {
        answered: Ok(()),
        version: report.version.filter(|version| !version.is_empty()),
        tools: Some(tools),
        protocol: report.protocol_versions.into_iter().max(),
    })
}
