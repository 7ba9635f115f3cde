//! A cluster that somebody else keeps, named by the environment.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::process;

/// `MCP_SYSTEM_TEST_KUBECONFIG` and `MCP_SYSTEM_TEST_LOAD_IMAGE`.
#[derive(Debug)]
pub(crate) struct External {
    pub(crate) kubeconfig: PathBuf,
    load_image: Option<String>,
}

impl External {
    /// The cluster that the environment names, if it names one. `KUBECONFIG` is never read: it may be production.
    pub(crate) fn from_environment() -> Option<Self> {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let kubeconfig = set("MCP_SYSTEM_TEST_KUBECONFIG")?.into();
        Some(Self { kubeconfig, load_image: set("MCP_SYSTEM_TEST_LOAD_IMAGE") })
    }

    pub(crate) fn client(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("KUBECONFIG", &self.kubeconfig);
        command
    }

    pub(crate) fn load(&self, archive: &Path) -> Result<()> {
        let line = self.load_image.as_deref().context(
            "MCP_SYSTEM_TEST_LOAD_IMAGE is not set: name a command that gives an image archive, its last argument, \
             to the cluster of MCP_SYSTEM_TEST_KUBECONFIG",
        )?;
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().context("MCP_SYSTEM_TEST_LOAD_IMAGE is empty")?);
        command.args(words).arg(archive);
        process::run(command, None).map(drop)
    }
}
