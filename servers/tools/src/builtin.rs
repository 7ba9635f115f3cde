//! The tools that come with the server. Each is a type in a file of its own; this is their list. A tool whose
//! settings are absent is known, but left out of the list of those that can be called.

mod ai;
mod cache;
mod database;
mod http_fetch;
mod search_files;
mod system_disks;
mod system_info;
mod system_processes;
mod web_search;

use crate::databases::Databases;
use crate::files::Files;
use crate::registry::Registry;
use crate::stock::Stock;
#[cfg(test)]
use crate::tool::Card;
use crate::tool::{About, Category, Tool};
use ai::{AiComplete, AiEmbed};
pub(crate) use cache::Measures;
use cache::{CacheDelete, CacheGet, CacheSet, Shared};
use database::{DescribeTable, ListTables, QueryDatabase};
use http_fetch::HttpFetch;
use mcp_system_config::ToolsSettings;
use mcp_system_user_tools::{BUILT_IN, RequestTemplate};
use search_files::SearchFiles;
use std::sync::Arc;
use system_disks::SystemDisks;
use system_info::SystemInfo;
use system_processes::SystemProcesses;
use web_search::WebSearch;

/// How many there are.
pub(crate) const COUNT: usize = BUILT_IN.len();

/// Models.
const AI: Category = Category { name: "ai", description: "Ask models that this server's operator chose." };
/// Values kept for a while.
const CACHE: Category = Category { name: "cache", description: "Keep values for a while." };
/// Databases.
const DATABASE: Category = Category { name: "database", description: "Read databases with SQL." };
/// The web.
const HTTP: Category = Category { name: "http", description: "Reach other servers." };
/// Files and the web, by words.
const SEARCH: Category = Category { name: "search", description: "Find files and pages by words." };
/// The machine.
const SYSTEM: Category =
    Category { name: "system", description: "Look at the machine on which this server runs." };

/// Adds a tool, or says why it cannot be called.
fn add_or<T: Tool>(registry: &mut Registry, about: About, tool: Result<T, String>) -> anyhow::Result<()> {
    match tool {
        Ok(tool) => registry.add(tool),
        Err(reason) => registry.add_disabled::<T>(about, &reason),
    }
}

/// Adds all built-in tools, with these settings.
pub(crate) fn add(
    registry: &mut Registry,
    stock: &Stock,
    settings: &ToolsSettings,
    databases: &Arc<Databases>,
    files: Option<&Arc<Files>>,
    engine: Option<RequestTemplate>,
) -> anyhow::Result<()> {
    let shared = Shared::new(stock.store.clone(), settings.cache.ttl_seconds, stock.measures.clone());
    registry.add(CacheGet(shared.clone()))?;
    registry.add(CacheSet(shared.clone()))?;
    registry.add(CacheDelete(shared))?;
    registry.add(SystemInfo)?;
    registry.add(SystemDisks)?;
    registry.add(SystemProcesses)?;

    let opened =
        if databases.is_empty() { Err(database::DISABLED.to_owned()) } else { Ok(databases.clone()) };
    add_or(registry, database::QUERY, opened.clone().map(QueryDatabase))?;
    add_or(registry, database::LIST, opened.clone().map(ListTables))?;
    add_or(registry, database::DESCRIBE, opened.map(DescribeTable))?;

    let files = files.cloned().ok_or_else(|| search_files::DISABLED.to_owned());
    add_or(registry, search_files::ABOUT, files.map(SearchFiles))?;

    let web = match (&settings.web_search, engine) {
        (Some(web), Some(template)) => {
            WebSearch::new(web, template, stock).map_err(|error| format!("{error:#}"))
        }
        (Some(_), None) => Err("the setting webSearch cannot be used; the server's log says why".to_owned()),
        (None, _) => Err(web_search::DISABLED.to_owned()),
    };
    add_or(registry, web_search::ABOUT, web)?;

    let fetch = if settings.http_fetch.allowed_hosts.is_empty() {
        Err(http_fetch::DISABLED.to_owned())
    } else {
        HttpFetch::new(&settings.http_fetch, &stock.clients).map_err(|error| format!("{error:#}"))
    };
    add_or(registry, http_fetch::ABOUT, fetch)?;

    add_or(registry, ai::EMBED, AiEmbed::new(&settings.ai, stock))?;
    add_or(registry, ai::COMPLETE, AiComplete::new(&settings.ai, stock))
}

/// What all built-in tools say about themselves.
#[cfg(test)]
pub(crate) fn cards() -> Vec<Card> {
    let settings = ToolsSettings::default();
    let stock = Stock::new(&settings, &mcp_system_kit::Metrics::new("tools")).expect("a stock");
    let registry = stock.registry(&settings).expect("built");
    registry.entries().map(|entry| entry.about.clone()).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_names_that_no_other_tool_may_have_are_these() {
        let mut known = mcp_system_user_tools::BUILT_IN;
        known.sort_unstable();
        let names: Vec<String> = super::cards().into_iter().map(|card| card.name).collect();
        assert_eq!(names, known);
    }
}
