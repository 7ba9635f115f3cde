//! The built-in tools of the tools server.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use mcp_system_tests::clients::Answers;
use mcp_system_tests::endpoint::Endpoint;
use mcp_system_tests::single::Single;
use serde_json::json;

use super::{Course, Good};
use crate::group::{Fixture, Shared, same};

pub(super) static SERVER: Shared<Single> = Shared::new(|| ENDPOINT.with(|endpoint| start(&endpoint.url())));
pub(super) static ENDPOINT: Shared<Endpoint> = Shared::new(Endpoint::start);

impl Fixture for Endpoint {
    fn end(self) -> Result<()> {
        drop(self);
        Ok(())
    }
}

fn start(endpoint: &str) -> Result<Single> {
    Single::start_as("tools", |folder| settings(folder, endpoint), |_| Vec::new())
}

/// With a database, a folder of files, a host to fetch from, models and a web search.
fn settings(folder: &Path, endpoint: &str) -> Result<String> {
    let file = folder.join("harbour.db");
    let made = Command::new("python3").args(["-c", MAKE_DATABASE]).arg(&file).status();
    ensure!(made.is_ok_and(|status| status.success()), "python3 makes no SQLite file");
    let settings = json!({"settings": {
        "httpFetch": {"allowedHosts": ["127.0.0.1"]},
        "fileSearch": {"folder": concat!(env!("CARGO_MANIFEST_DIR"), "/clients/conformance")},
        "ai": {"baseUrl": format!("{endpoint}/v1"), "embeddingModel": "small", "completionModel": "large"},
        "webSearch": {"request": {"url": format!("{endpoint}/search?q={{{{query}}}}")}},
        "databases": [{"name": "harbour", "url": format!("sqlite:{}", file.display())}],
    }});
    Ok(settings.to_string())
}

const MAKE_DATABASE: &str = "\
import sqlite3, sys
with sqlite3.connect(sys.argv[1]) as harbour:
    harbour.execute('create table cranes (name text, tons integer)')
    harbour.execute(\"insert into cranes values ('north', 90)\")
";

pub(super) const COURSE: Course =
    Course { server: &SERVER, first, then, reads: |_, _| Ok(Vec::new()), refused };

fn first(caller: &str) -> Vec<Good> {
    vec![
        ("execute_cache_set", json!({"key": caller, "value": {"a": [1, 2]}, "ttl_seconds": 60})),
        ("execute_cache_get", json!({"key": caller})),
        ("search_tools", json!({"query": "fetch a page"})),
        ("get_tool_details", json!({"tool_name": "cache_get"})),
        ("list_tool_categories", json!({})),
        ("execute_system_info", json!({})),
        ("execute_system_disks", json!({})),
        ("execute_system_processes", json!({"limit": 3})),
        ("execute_search_files", json!({"query": "description", "limit": 3})),
        ("execute_list_tables", json!({})),
        ("execute_describe_table", json!({"table": "cranes"})),
        (
            "execute_query_database",
            json!({"sql": "select tons from cranes where name = ?1", "parameters": ["north"]}),
        ),
        ("execute_ai_embed", json!({"texts": ["crane", "harbour"]})),
        ("execute_ai_complete", json!({"prompt": "Is the harbour open?"})),
        ("execute_web_search", json!({"query": "tide table"})),
    ]
}

fn then(caller: &str, before: &Answers) -> Result<Vec<Good>> {
    let said = |number: usize| before.of(&format!("first {number}"))?.value();
    same("the cached value", &said(1)?["value"], &json!({"a": [1, 2]}))?;
    same("the vectors", &said(12)?["vectors"], &json!([[5.5, 0.25], [7.5, 0.25]]))?;
    same("the completion", &said(13)?["text"], &json!("You said: Is the harbour open?"))?;
    let page = &said(14)?["results"][0];
    ensure!(page["title"].as_str().is_some_and(|title| title.contains("tide")), "the search asked {page}");
    Ok(vec![("execute_cache_delete", json!({"key": caller}))])
}

/// Nothing outside of this machine can be reached, and this machine may not be.
fn refused() -> Vec<(Good, &'static str)> {
    vec![(("execute_http_fetch", json!({"url": "http://127.0.0.1:9/"})), "127.0.0.1")]
}
