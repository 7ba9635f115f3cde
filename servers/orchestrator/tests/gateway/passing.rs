//! What passes through a gateway when all is well.

use crate::bench::Bench;
use crate::server_of;
use crate::stage::{
    ask, call, connect, eras, gateway, health, modern, names, post, sessions, settings, until,
};
use rmcp::model::CallToolRequestParams;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

#[tokio::test]
async fn tools_of_all_servers_are_listed_and_called_unchanged() {
    let memory = Bench::new("memory", &["store", "search"]);
    let foreign = Bench::new("foreign", &["search", "read/file", "refuse"]);
    let first = modern(memory.clone(), None).await;
    let second = sessions(foreign.clone(), None).await;
    let gateway = gateway(settings(&[("memory", first.url()), ("web", second.url())])).await;
    assert_eq!(names(&gateway).await, ["memory_search", "read_file", "refuse", "store", "web_search"]);

    for era in eras() {
        let client = connect(&gateway, era).await;
        let tools = client.list_all_tools().await.expect("lists");
        for tool in tools {
            let own_name = tool.name.trim_start_matches("memory_").trim_start_matches("web_").to_owned();
            let wanted =
                memory.tools().into_iter().chain(foreign.tools()).find(|own| own.title == tool.title);
            let mut wanted = wanted.expect("a tool of one of them");
            assert_eq!(own_name.replace('_', "/"), wanted.name.replace('_', "/"));
            wanted.name = tool.name.clone();
            assert_eq!(tool, wanted);
        }
        for (tool, server, own_name) in [
            ("store", "memory", "store"),
            ("web_search", "foreign", "search"),
            ("read_file", "foreign", "read/file"),
        ] {
            let arguments = json!({"text": "hällo"}).as_object().cloned().expect("an object");
            let request = CallToolRequestParams::new(tool).with_arguments(arguments);
            let result = client.call_tool(request).await.expect("called");
            let said = json!({"server": server, "tool": own_name, "arguments": {"text": "hällo"}});
            assert_eq!(result.structured_content, Some(said));
            assert!(result.meta.is_some_and(|meta| meta.0.contains_key("example.com/trace")));
        }
        let instructions = client.peer_info().and_then(|info| info.instructions.clone()).unwrap_or_default();
        assert!(instructions.contains("memory, web"), "{instructions}");
    }
    let refused = call(&gateway, "refuse").await;
    assert_eq!(
        refused["error"],
        json!({"code": -32602, "message": "not like this", "data": {"why": "because"}})
    );
    let traced = json!({"name": "store", "_meta": {"traceparent": "00-1-2-01"}});
    let traced = ask(&gateway, "tools/call", &traced).await;
    assert_eq!(traced["result"]["_meta"]["example.com/trace"], "00-1-2-01");
    let (code, report) = health(&gateway).await;
    assert_eq!((code, &report["status"], &report["tools"]), (200, &json!("healthy"), &json!(5)));
    assert_eq!(report["dependencies"]["web"]["tools"], 3);
}

#[tokio::test]
async fn an_unknown_tool_is_answered_with_those_that_may_be_meant() {
    let server = modern(Bench::new("memory", &["store_memory", "search"]), None).await;
    let gateway = gateway(settings(&[("memory", server.url())])).await;
    let answer = call(&gateway, "memory_store").await;
    assert_eq!(answer["error"]["code"], -32602);
    assert!(answer["error"]["message"].as_str().expect("text").contains("store_memory"), "{answer}");
}

#[tokio::test]
async fn progress_reaches_the_client_under_its_own_token_before_the_result() {
    let (new, old) = (Bench::new("new", &["progress"]), Bench::new("old", &["progress"]));
    let servers = [modern(new, None).await, sessions(old, None).await];
    let gateway = gateway(settings(&[("new", servers[0].url()), ("old", servers[1].url())])).await;
    for tool in ["new_progress", "old_progress"] {
        let params = json!({"name": tool, "_meta": {"progressToken": "mine"}});
        let text =
            post(&gateway, "tools/call", &params).send().await.expect("answered").text().await.expect("text");
        let messages: Vec<Value> =
            text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data:")?).ok()).collect();
        assert_eq!(messages.len(), 4, "{tool}: {text}");
        for (step, message) in (1..).zip(&messages[..3]) {
            assert_eq!(message["method"], "notifications/progress");
            let params = &message["params"];
            assert_eq!((&params["progressToken"], &params["message"]), (&json!("mine"), &json!("working")));
            assert_eq!(params["progress"].as_f64(), Some(f64::from(step)));
        }
        assert_eq!(messages[3]["id"], 1);
    }
}

#[tokio::test]
async fn a_call_that_its_client_gives_up_is_cancelled_at_servers_of_both_eras() {
    let (new, old) = (Bench::new("new", &["hang"]), Bench::new("old", &["hang"]));
    let servers = [modern(new.clone(), None).await, sessions(old.clone(), None).await];
    let gateway = gateway(settings(&[("new", servers[0].url()), ("old", servers[1].url())])).await;
    for (tool, bench) in [("new_hang", new), ("old_hang", old)] {
        let call = tokio::spawn(post(&gateway, "tools/call", &json!({"name": tool})).send());
        until(tool, || async { bench.counted().calls.load(Ordering::SeqCst) == 1 }).await;
        call.abort();
        until(tool, || async { bench.counted().given_up.load(Ordering::SeqCst) == 1 }).await;
    }
}

#[tokio::test]
async fn replicas_answer_alternate_requests() {
    let servers = [
        modern(Bench::new("a", &["x", "y"]), None).await,
        sessions(Bench::new("b", &["x", "z"]), None).await,
    ];
    let backends = [("a", servers[0].url()), ("b", servers[1].url())];
    let replicas = [gateway(settings(&backends)).await, gateway(settings(&backends)).await];
    assert_eq!(names(&replicas[0]).await, names(&replicas[1]).await);
    for turn in 0..8usize {
        let tool = ["a_x", "b_x", "y", "z"][turn % 4];
        let answer = call(&replicas[turn / 2 % 2], tool).await;
        assert_eq!(server_of(&answer), if turn % 2 == 0 { "a" } else { "b" }, "{tool}");
    }
}

#[tokio::test]
async fn the_list_is_used_no_longer_than_its_servers_let_theirs() {
    let short = Bench::new("short", &["x"]);
    short.counted().ttl_ms.store(2000, Ordering::SeqCst);
    let servers = [modern(short, None).await, modern(Bench::new("long", &["y"]), None).await];
    let gateway = gateway(settings(&[("a", servers[0].url()), ("b", servers[1].url())])).await;
    assert_eq!(names(&gateway).await, ["x", "y"]);
    let client = connect(&gateway, eras()[1].clone()).await;
    assert_eq!(client.list_tools(None).await.expect("lists").ttl_ms, Some(2000));
}
