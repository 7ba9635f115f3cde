//! The protocol as clients of both eras, and strangers, see it.

use super::{client, eras, start};
use crate::demo::settings;
use reqwest::StatusCode;
use rmcp::model::{CallToolRequestParams, ClientRequest, PaginatedRequestParams, Request};
use rmcp::service::PeerRequestOptions;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

#[tokio::test]
async fn clients_of_both_eras_list_call_and_hear_of_progress() {
    let server = start(settings(), |server| server).await;
    for era in eras() {
        let client = server.connect(era.clone()).await;
        let names: Vec<_> =
            client.list_all_tools().await.expect("lists").into_iter().map(|tool| tool.name).collect();
        assert_eq!(names, ["echo", "fail", "progress", "wait", "whoami"], "{era:?}");

        let arguments = json!({"text": "hällo"}).as_object().cloned().expect("an object");
        let call = CallToolRequestParams::new("echo").with_arguments(arguments);
        let result = client.call_tool(call).await.expect("called");
        assert_eq!(result.content[0].as_text().expect("text").text, "hällo");

        let failed = client.call_tool(CallToolRequestParams::new("fail")).await.expect("called");
        assert_eq!(failed.is_error, Some(true));
        let unknown =
            client.call_tool(CallToolRequestParams::new("nothing")).await.expect_err("no such tool");
        assert!(unknown.to_string().contains("nothing"), "{unknown}");

        let request = ClientRequest::CallToolRequest(Request::new(CallToolRequestParams::new("progress")));
        let handle =
            client.send_cancellable_request(request, PeerRequestOptions::no_options()).await.expect("sent");
        handle.await_response().await.expect("answered");
        // The client spawns a task for each notification, so the order of arrival is told by the count alone.
        let deadline = Instant::now() + Duration::from_secs(5);
        while client.service().0.lock().expect("not poisoned").len() < 3 {
            assert!(Instant::now() < deadline, "progress did not arrive, {era:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test]
async fn progress_precedes_the_result_on_the_wire() {
    let server = start(settings(), |server| server).await;
    let params = json!({"name": "progress", "_meta": {"progressToken": "mine"}});
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params});
    let response = server.post(body.to_string()).send().await.expect("answered");
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let text = response.text().await.expect("text");
    let messages: Vec<Value> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .map(|data| serde_json::from_str(data).expect("JSON"))
        .collect();
    let told: Vec<_> = messages[..3].iter().map(|message| message["params"]["progress"].as_f64()).collect();
    assert_eq!(told, [Some(1.0), Some(2.0), Some(3.0)]);
    assert!(messages[..3].iter().all(|message| message["params"]["progressToken"] == "mine"));
    assert_eq!((&messages[3]["id"], messages.len()), (&json!(7), 4));
}

#[tokio::test]
async fn replicas_answer_alternate_requests_of_one_client() {
    let replicas = [start(settings(), |server| server).await, start(settings(), |server| server).await];
    let initialize = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}});
    let response = replicas[0].post(initialize.to_string()).send().await.expect("answered");
    assert!(response.headers().get("mcp-session-id").is_none());
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string();
    let response = replicas[1].post(initialized).header("mcp-protocol-version", "2025-11-25").send().await;
    assert_eq!(response.expect("answered").status(), StatusCode::ACCEPTED);
    for turn in 0..6usize {
        let request = replicas[turn % 2].call("echo", &json!({"text": turn.to_string()}));
        let answer: Value = request.send().await.expect("answered").json().await.expect("JSON");
        assert_eq!(answer["result"]["content"][0]["text"], turn.to_string());
    }
}

#[tokio::test]
async fn lists_tell_how_long_they_last_to_those_who_understand() {
    let server = start(settings(), |server| server).await;
    let legacy = server.post(json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).to_string());
    let legacy: Value = legacy.send().await.expect("answered").json().await.expect("JSON");
    assert!(legacy["result"].get("ttlMs").is_none());
    let modern = server.connect(eras()[1].clone()).await;
    let page = modern.list_tools(Some(PaginatedRequestParams::default())).await.expect("lists");
    assert_eq!(page.ttl_ms, Some(60_000));
}

#[tokio::test]
async fn strangers_are_refused_and_local_browsers_are_not() {
    let mut config = settings();
    config.listen.allowed_hosts = vec!["tools.example".into(), "other.example:444".into()];
    let server = start(config, |server| server).await;
    for (name, value, status) in [
        ("host", "evil.example", 403),
        ("host", "tools.example", 200),
        ("host", "tools.example:8006", 200),
        ("host", "other.example:444", 200),
        ("host", "other.example:445", 403),
        ("host", "localhost:1", 200),
        ("host", "[::1]:1", 200),
        ("origin", "https://evil.example", 403),
        ("origin", "null", 403),
        ("origin", "http://localhost:6274", 200),
        ("origin", "http://127.0.0.1:5173", 200),
    ] {
        let request = server.call("echo", &json!({"text": "hi"})).header(name, value);
        let response = request.send().await.expect("answered");
        assert_eq!(response.status().as_u16(), status, "{name}: {value}");
        let readable = response.headers().get("access-control-allow-origin").is_some();
        assert_eq!(readable, name == "origin" && status == 200, "{name}: {value}");
    }
    for (origin, status) in [("http://localhost:6274", 204), ("https://evil.example", 403)] {
        let url = format!("{}/mcp", server.url);
        let asked = client().request(reqwest::Method::OPTIONS, url).header("origin", origin).send().await;
        assert_eq!(asked.expect("answered").status().as_u16(), status, "{origin}");
    }
}

#[tokio::test]
async fn bad_input_is_answered_in_json_rpc() {
    let mut config = settings();
    config.listen.max_body_bytes = 1000;
    let server = start(config, |server| server).await;
    let cases: [(Vec<u8>, u16, i32); 6] = [
        (b"{".to_vec(), 400, -32700),
        (b"\xff\xfe".to_vec(), 400, -32700),
        (b"[]".to_vec(), 400, -32600),
        (b"{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":3}".to_vec(), 400, -32600),
        (vec![b' '; 1001], 413, -32600),
        ("[".repeat(900).into_bytes(), 400, -32700),
    ];
    for (body, status, code) in cases {
        let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
        let response = server.post(body).send().await.expect("answered");
        assert_eq!(response.status().as_u16(), status, "{shown}");
        let answer: Value = response.json().await.expect("JSON");
        assert_eq!(answer["error"]["code"], code, "{shown}: {answer}");
    }
    for method in [reqwest::Method::GET, reqwest::Method::DELETE] {
        let request =
            client().request(method, format!("{}/mcp", server.url)).header("accept", "text/event-stream");
        assert_eq!(request.send().await.expect("answered").status(), StatusCode::METHOD_NOT_ALLOWED);
    }
    assert!(server.metrics().await.contains("mcp_tools_http_rejected_total{code=\"413\"} 1"));
}
