//! The tools that come with the server. Each is a type in a file of its own; this is their list.

mod cache;
mod http_fetch;
mod system_info;

use crate::registry::Registry;
#[cfg(test)]
use crate::tool::About;
use crate::tool::Category;
use cache::{CacheDelete, CacheGet, CacheSet, Shared};
use http_fetch::HttpFetch;
use mcp_system_config::ToolsSettings;
use mcp_system_kit::Metrics;
use system_info::SystemInfo;

/// Values kept for a while.
const CACHE: Category = Category { name: "cache", description: "Keep values in memory for a while." };
/// The web.
const NETWORK: Category = Category { name: "network", description: "Reach other servers." };
/// The machine.
const SYSTEM: Category =
    Category { name: "system", description: "Look at the machine on which this server runs." };

/// A registry of all built-in tools, with these settings.
pub fn registry(settings: &ToolsSettings, metrics: &Metrics) -> anyhow::Result<Registry> {
    let mut registry = Registry::default();
    let shared = Shared::new(&settings.cache, metrics)?;
    registry.add(CacheGet(shared.clone()))?;
    registry.add(CacheSet(shared.clone()))?;
    registry.add(CacheDelete(shared))?;
    registry.add(SystemInfo)?;
    if settings.http_fetch.allowed_hosts.is_empty() {
        registry.add_disabled::<HttpFetch>(http_fetch::ABOUT, http_fetch::DISABLED)?;
    } else {
        registry.add(HttpFetch::new(&settings.http_fetch)?)?;
    }
    Ok(registry)
}

/// What all built-in tools say about themselves.
#[cfg(test)]
pub(crate) fn abouts() -> Vec<About> {
    let registry = registry(&ToolsSettings::default(), &Metrics::new("tools")).expect("built");
    registry.entries().map(|entry| entry.about).collect()
}
