//! What one of this project's own servers tells of itself: it sends itself MCP requests all the time, and needs
//! no key for telling what came of them.

use crate::Answer;
use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;

/// A health report larger than this is none.
const MAX_BYTES: usize = 1 << 20;
/// So many warnings are passed on, and so much of each, in characters.
const MOST_WARNINGS: usize = 10;
const LONGEST_WARNING: usize = 300;

/// The part of a health report that tells of it.
#[derive(Deserialize)]
struct Report {
    status: String,
    version: Option<String>,
    tools: Option<u32>,
    message: Option<String>,
    #[serde(default)]
    protocol_versions: Vec<String>,
    #[serde(default)]
    dependencies: BTreeMap<String, Dependency>,
    #[serde(default)]
    configuration: BTreeMap<String, File>,
}

/// What settings describe says what of them cannot work.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Dependency {
    findings: Vec<String>,
}

/// A file of settings, and whether its last change was taken over.
#[derive(Default, Deserialize)]
#[serde(default)]
struct File {
    status: String,
    message: String,
}

impl Report {
    fn warnings(&self) -> Vec<String> {
        let findings = self.dependencies.values().flat_map(|dependency| dependency.findings.iter().cloned());
        let rejected = self.configuration.iter().filter(|(_, file)| file.status == "rejected");
        let rejected = rejected.map(|(name, file)| {
            format!(
                "{name}: a changed file is not taken over, what it held before stays in force: {}",
                file.message
            )
        });
        let bounded = |warning: String| {
            let line = warning.split_whitespace().collect::<Vec<_>>().join(" ");
            line.chars().take(LONGEST_WARNING).collect()
        };
        findings.chain(rejected).take(MOST_WARNINGS).map(bounded).collect()
    }
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
    let warnings = report.warnings();
    Ok(Answer {
        answered: Ok(()),
        version: report.version.filter(|version| !version.is_empty()),
        tools: Some(tools),
        protocol: report.protocol_versions.into_iter().max(),
        warnings,
    })
}
