//! What a gateway does when servers hang, die, come back or forget.

use crate::bench::Bench;
use crate::stage::{
    bound, call, connect, eras, forgetful, gateway, health, metrics_of, modern, mute, names, nowhere,
    sessions, settings, until,
};
use crate::{server_of, text_of};
use rmcp::model::CallToolRequestParams;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn a_server_that_hangs_holds_up_nobody_else_and_itself_no_longer_than_it_hangs() {
    let bench = Bench::new("slow", &["hang", "echo"]);
    let (slow, good) = (modern(bench.clone(), None).await, modern(Bench::new("good", &["fine"]), None).await);
    let silent = mute().await;
    let backends = [("good", good.url()), ("mute", silent.url()), ("slow", slow.url())];
    let gateway = Arc::new(gateway(settings(&backends)).await);
    assert_eq!(names(&gateway).await, ["echo", "fine", "hang"]);

    // More than the sixteen that one transport of the SDK lets through.
    let hung: Vec<_> = (0..40)
        .map(|_| {
            let gateway = gateway.clone();
            tokio::spawn(async move { call(&gateway, "hang").await })
        })
        .collect();
    until("all of them hang", || async { bench.counted().calls.load(Ordering::SeqCst) == 40 }).await;
    assert_eq!(server_of(&call(&gateway, "fine").await), "good");
    assert_eq!(server_of(&call(&gateway, "echo").await), "slow");
    assert_eq!(names(&gateway).await.len(), 3);
    assert!(hung.iter().all(|call| !call.is_finished()), "the others were answered while these still hang");

    for call in hung {
        call.abort();
    }
    until("the server learned that nobody waits", || async {
        bench.counted().given_up.load(Ordering::SeqCst) == 40
    })
    .await;
    let (code, report) = health(&gateway).await;
    assert_eq!((code, &report["status"]), (200, &json!("degraded")));
    assert_eq!(report["dependencies"]["slow"]["status"], "healthy");
    assert_eq!(report["dependencies"]["mute"]["status"], "unhealthy");
}

#[tokio::test]
async fn a_dead_server_is_named_and_comes_back_by_itself() {
    let address = nowhere().await;
    let good = modern(Bench::new("good", &["fine"]), None).await;
    let url = format!("http://{address}/mcp");
    let mut config = settings(&[("good", good.url()), ("late", url)]);
    config.resilience.retry.min_backoff_milliseconds = 1;
    let gateway = gateway(config).await;
    assert_eq!(names(&gateway).await, ["fine"]);
    let (code, report) = health(&gateway).await;
    assert_eq!((code, &report["status"]), (200, &json!("degraded")));
    assert!(
        report["dependencies"]["late"]["message"].as_str().expect("text").contains("refused"),
        "{report}"
    );

    let late = modern(Bench::new("late", &["later"]), Some(address)).await;
    until("the late one appears", || async { names(&gateway).await == ["fine", "later"] }).await;
    assert_eq!(server_of(&call(&gateway, "later").await), "late");
    until("healthy", || async { health(&gateway).await.1["status"] == "healthy" }).await;

    // Gone again: its tools stay listed, and a call says what is wrong.
    late.stop().await;
    let answer = call(&gateway, "later").await;
    assert_eq!(answer["result"]["isError"], true);
    assert!(text_of(&answer).contains("\"late\" behind this tool cannot be reached"), "{answer}");
    assert_eq!(server_of(&call(&gateway, "fine").await), "good");
    assert_eq!(names(&gateway).await, ["fine", "later"]);
    let _late = modern(Bench::new("late again", &["later"]), Some(address)).await;
    until("it is called again", || async { server_of(&call(&gateway, "later").await) == "late again" }).await;
}

#[tokio::test]
async fn a_server_that_says_it_is_not_ready_degrades_and_keeps_its_tools() {
    let servers = [modern(Bench::new("a", &["x"]), None).await, modern(Bench::new("b", &["y"]), None).await];
    let mut config = settings(&[("a", servers[0].url()), ("b", servers[1].url())]);
    config.settings.backends[0].health_url = Some(format!("http://{}/health", servers[0].address));
    config.settings.backends[1].health_url = Some(format!("http://{}/elsewhere", servers[1].address));
    let gateway = gateway(config).await;
    assert_eq!(names(&gateway).await, ["x", "y"]);
    until("degraded", || async { health(&gateway).await.1["status"] == "degraded" }).await;
    let (_, report) = health(&gateway).await;
    assert_eq!(report["dependencies"]["a"]["status"], "healthy");
    assert!(report["dependencies"]["b"]["message"].as_str().expect("text").contains("404"), "{report}");
}

#[tokio::test]
async fn a_lost_session_is_taken_anew_without_the_client_noticing() {
    let (old, memory) = forgetful(Bench::new("old", &["echo"]), None).await;
    let gateway = gateway(settings(&[("old", old.url())])).await;
    for _ in 0..3 {
        assert_eq!(server_of(&call(&gateway, "echo").await), "old");
        assert_eq!(memory.sessions.read().await.len(), 1, "one session serves all");
        memory.sessions.write().await.clear();
    }
    let address = old.stop().await;
    let restarted = sessions(Bench::new("restarted", &["echo"]), Some(address)).await;
    for _ in 0..3 {
        assert_eq!(server_of(&call(&gateway, "echo").await), "restarted");
    }
    // In its place, one that speaks the latest revision.
    let address = restarted.stop().await;
    let _newer = modern(Bench::new("newer", &["echo"]), Some(address)).await;
    until("the newer one is called", || async { server_of(&call(&gateway, "echo").await) == "newer" }).await;
}

#[tokio::test]
async fn sessions_are_ended_when_the_gateway_ends() {
    let (old, memory) = forgetful(Bench::new("old", &["echo"]), None).await;
    let gateway = gateway(settings(&[("old", old.url())])).await;
    assert_eq!(memory.sessions.read().await.len(), 1);
    gateway.stop().await;
    until("the session is ended", || async { memory.sessions.read().await.is_empty() }).await;
}

#[tokio::test]
async fn a_call_that_may_have_been_carried_out_is_not_repeated() {
    let (listener, address) = bound(None).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    // Lists a tool as it should, and hangs up on calls after it has read them.
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let counted = counted.clone();
            tokio::spawn(async move {
                let mut buffer = vec![0; 1 << 16];
                while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                    if text.contains("tools/call") {
                        counted.fetch_add(1, Ordering::SeqCst);
                        return;
                    }
                    let body = text.split("\r\n\r\n").nth(1).unwrap_or_default();
                    let request: Value = serde_json::from_str(body).unwrap_or_default();
                    let result = if request["method"] == "server/discover" {
                        json!({"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {},
                            "ttlMs": 0, "cacheScope": "private"})
                    } else {
                        json!({"resultType": "complete", "ttlMs": 0, "cacheScope": "private",
                            "tools": [{"name": "pay", "inputSchema": {"type": "object"}}]})
                    };
                    let answer = json!({"jsonrpc": "2.0", "id": request["id"], "result": result}).to_string();
                    let head = format!("content-type: application/json\r\ncontent-length: {}", answer.len());
                    let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{answer}");
                    stream.write_all(answer.as_bytes()).await.expect("written");
                }
            });
        }
    });
    let gateway = gateway(settings(&[("bank", format!("http://{address}/mcp"))])).await;
    let answer = call(&gateway, "pay").await;
    assert!(text_of(&answer).contains("may or may not have been carried out"), "{answer}");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn after_failures_in_a_row_calls_fail_at_once_until_the_server_answers() {
    let server = modern(Bench::new("shaky", &["echo"]), None).await;
    let mut config = settings(&[("shaky", server.url())]);
    config.resilience.failure_threshold = 2;
    config.resilience.retry.attempts = 1;
    let gateway = gateway(config).await;
    let address = server.stop().await;
    for _ in 0..2 {
        assert!(text_of(&call(&gateway, "echo").await).contains("cannot be reached"));
    }
    assert!(text_of(&call(&gateway, "echo").await).contains("several times in a row"));
    let (_, report) = health(&gateway).await;
    assert_eq!(report["metrics"]["circuit_breaker_state"], "open");
    assert_eq!(report["dependencies"]["shaky"]["circuit_breaker_state"], "open");
    // A failed call only asks for a look at the server, which is taken beside it.
    let down = "mcp_orchestrator_backend_up{backend=\"shaky\"} 0";
    until("it is shown as down", || async { metrics_of(&gateway).await.contains(down) }).await;
    let metrics = metrics_of(&gateway).await;
    for line in [
        "mcp_orchestrator_backend_calls_total{backend=\"shaky\",status=\"unreachable\"} 2",
        "mcp_orchestrator_backend_calls_total{backend=\"shaky\",status=\"refused\"} 1",
        "mcp_orchestrator_dependency_circuit_breaker_state{dependency=\"shaky\"} 2",
    ] {
        assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
    }
    let _back = modern(Bench::new("back", &["echo"]), Some(address)).await;
    until("it is called again", || async { server_of(&call(&gateway, "echo").await) == "back" }).await;
    until("closed", || async { health(&gateway).await.1["metrics"]["circuit_breaker_state"] == "closed" })
        .await;
}

#[tokio::test]
async fn a_server_that_lists_its_tools_and_hangs_in_calls_is_left_alone_all_the_same() {
    let bench = Bench::new("stuck", &["echo", "hang"]);
    let server = modern(bench.clone(), None).await;
    let mut config = settings(&[("stuck", server.url())]);
    (config.settings.gateway.call_timeout_seconds, config.settings.gateway.list_ttl_seconds) = (1, 1);
    config.resilience.failure_threshold = 2;
    let gateway = gateway(config).await;
    for _ in 0..2 {
        assert!(text_of(&call(&gateway, "hang").await).contains("no answer within 1 s"));
    }
    // It is listed again and again meanwhile, and once in a while asked by itself.
    let listed = bench.counted().lists.load(Ordering::SeqCst);
    until("it was looked at", || async { bench.counted().lists.load(Ordering::SeqCst) > listed + 3 }).await;
    assert!(text_of(&call(&gateway, "echo").await).contains("several times in a row"));
    // What stands in its place after a while without it is another matter.
    let address = server.stop().await;
    let down = "mcp_orchestrator_backend_up{backend=\"stuck\"} 0";
    until("it is seen to be gone", || async { metrics_of(&gateway).await.contains(down) }).await;
    let _back = modern(Bench::new("back", &["echo"]), Some(address)).await;
    until("it is called again", || async { server_of(&call(&gateway, "echo").await) == "back" }).await;
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_told_and_held_against_nobody() {
    let tools = ["echo", "huge"];
    let (new, old) =
        (modern(Bench::new("new", &tools), None).await, sessions(Bench::new("old", &tools), None).await);
    let mut config = settings(&[("new", new.url()), ("old", old.url())]);
    config.resilience.failure_threshold = 1;
    let gateway = gateway(config).await;
    for server in ["new", "old"] {
        let answer = call(&gateway, &format!("{server}_huge")).await;
        assert_eq!(answer["result"]["isError"], true);
        assert!(text_of(&answer).contains("answered with more than 16 MiB"), "{answer}");
        assert_eq!(server_of(&call(&gateway, &format!("{server}_echo")).await), server);
    }
}

/// Numbers for people; what must hold is asserted above without a clock.
#[tokio::test]
async fn the_cost_of_a_hung_neighbour_is_printed() {
    let bench = Bench::new("slow", &["hang"]);
    let (slow, good) = (modern(bench.clone(), None).await, modern(Bench::new("good", &["fine"]), None).await);
    let alone = gateway(settings(&[("good", good.url())])).await;
    let silent = mute().await;
    let backends = [("good", good.url()), ("mute", silent.url()), ("slow", slow.url())];
    let beside = Arc::new(gateway(settings(&backends)).await);
    let hung: Vec<_> = (0..30)
        .map(|_| {
            let beside = beside.clone();
            tokio::spawn(async move { call(&beside, "hang").await })
        })
        .collect();
    until("all of them hang", || async { bench.counted().calls.load(Ordering::SeqCst) == 30 }).await;
    for (what, running) in
        [("alone", &alone), ("beside a hung and a mute one", &*beside), ("directly", &good)]
    {
        let client = connect(running, eras()[1].clone()).await;
        let mut times = Vec::new();
        for _ in 0..200 {
            let started = Instant::now();
            client.call_tool(CallToolRequestParams::new("fine")).await.expect("called");
            times.push(started.elapsed());
        }
        times.sort();
        println!("a call to a good server, {what}: median {:?}, 99th of 100 {:?}", times[100], times[198]);
    }
    hung.iter().for_each(tokio::task::JoinHandle::abort);
}
