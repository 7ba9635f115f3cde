//! What health shows of dependencies that cannot be reached.

use super::*;
use crate::tool::Call;
use serde_json::json;

/// Nobody listens there.
const NOWHERE: &str = "127.0.0.1:9";

async fn call(registry: &Registry, tool: &str, arguments: Value) -> String {
    let arguments = arguments.as_object().cloned().expect("an object");
    let entry = registry.get(tool).unwrap_or_else(|| panic!("{tool} is not offered"));
    entry.execute(arguments, Call::default()).await.expect_err("nobody there").0
}

fn part(stock: &Stock, name: &str) -> Part {
    let mut parts = stock.dependencies().into_iter();
    parts.find(|(part, _)| *part == name).unwrap_or_else(|| panic!("{name} is not shown")).1
}

#[tokio::test]
async fn each_dependency_that_fails_is_left_alone_and_shown() {
    let settings = json!({
        "ai": {"baseUrl": format!("http://{NOWHERE}/v1"), "completionModel": "m"},
        "cache": {"redis": {"url": format!("redis://{NOWHERE}")}},
        "databases": [{"name": "shop", "url": format!("postgres://reader@{NOWHERE}/shop"), "timeoutSeconds": 1}],
        "webSearch": {"request": {"url": format!("http://{NOWHERE}/?q={{{{query}}}}")}, "results": "/results"},
    });
    let settings: ToolsSettings = serde_json::from_value(settings).expect("settings");
    let stock = Stock::new(&settings, &Metrics::new("tools")).expect("a stock");
    stock.guards.set(&Resilience { failure_threshold: 1, ..Resilience::default() });
    let registry = stock.registry(&settings).expect("a registry");
    for (name, tool, arguments) in [
        (guards::AI, "ai_complete", json!({"prompt": "Hi"})),
        (guards::CACHE, "cache_get", json!({"key": "k"})),
        ("databases", "query_database", json!({"sql": "SELECT 1"})),
        (guards::WEB_SEARCH, "web_search", json!({"query": "x"})),
    ] {
        assert_eq!(part(&stock, name).circuit_breaker(), Some(State::Closed), "{name}");
        let first = call(&registry, tool, arguments.clone()).await;
        assert!(!first.contains("left alone"), "{name}: {first}");
        let second = call(&registry, tool, arguments).await;
        assert!(second.contains("left alone"), "{name}: {second}");
        let part = part(&stock, name);
        assert_eq!(part.circuit_breaker(), Some(State::Open), "{name}");
        assert!(part.check().await.expect_err("open").contains("left alone"), "{name}");
    }
    // What is known of them survives a change of other settings, and goes with what it is known of.
    let fewer = ToolsSettings { web_search: None, ..settings };
    stock.registry(&fewer).expect("a registry");
    assert_eq!(part(&stock, guards::AI).circuit_breaker(), Some(State::Open));
    assert!(stock.dependencies().iter().all(|(name, _)| *name != guards::WEB_SEARCH));
}

#[tokio::test]
async fn a_database_that_is_silent_hides_no_other() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let settings = json!({"databases": [
        {"name": "gone", "url": "sqlite:/nowhere/at/all.db"},
        {"name": "silent", "url": format!("postgres://reader@{address}/shop")},
    ]});
    let settings: ToolsSettings = serde_json::from_value(settings).expect("settings");
    let stock = Stock::new(&settings, &Metrics::new("tools")).expect("a stock");
    stock.registry(&settings).expect("a registry");
    let told = part(&stock, "databases").check().await.expect_err("neither answers");
    assert!(told.contains("the database gone: unable to open"), "{told}");
    assert!(told.contains("the database silent: it did not answer within 1500 ms"), "{told}");
}
