//! What is built or installed once and kept, outside the checkout.

use std::path::PathBuf;

use anyhow::{Context, Result};

/// The folder that every run shares.
pub(crate) fn folder() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("MCP_SYSTEM_TEST_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|home| home.join("mcp-system-tests")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/mcp-system-tests")))
        .context("no folder for what the tests install: set MCP_SYSTEM_TEST_CACHE or HOME")
}
