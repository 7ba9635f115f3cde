//! A server's life: its health, its measures, its end.

use super::{Running, client, counted, start};
use crate::demo::settings;
use reqwest::StatusCode;
use serde_json::json;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

#[tokio::test]
async fn health_follows_what_happens() {
    let (open, gate) = oneshot::channel::<()>();
    let disk = Arc::new(Mutex::new(Ok(())));
    let check = disk.clone();
    let server = start(settings(), |server| {
        server
            .ready_after(async move {
                let _ = gate.await;
            })
            .dependency("disk", move || std::future::ready(check.lock().expect("not poisoned").clone()))
    })
    .await;
    let (code, report) = server.until("starting").await;
    assert_eq!(code, StatusCode::SERVICE_UNAVAILABLE, "{report}");
    let live = client().get(format!("{}/health/live", server.url)).send().await.expect("answered");
    assert_eq!(live.status(), StatusCode::OK);

    open.send(()).expect("waiting");
    let (code, report) = server.until("healthy").await;
    assert_eq!((code, &report["tools"]), (StatusCode::OK, &json!(5)));
    assert_eq!(report["server_name"], "tools");
    assert!(report["protocol_versions"].as_array().expect("a list").contains(&json!("2026-07-28")));
    assert_eq!(report["metrics"]["request_count"], 0, "its own questions are not counted");

    *disk.lock().expect("not poisoned") = Err("full".into());
    let (code, report) = server.until("degraded").await;
    assert_eq!((code, &report["dependencies"]["disk"]["message"]), (StatusCode::OK, &json!("full")));

    server.demo.seen().broken.store(true, Ordering::SeqCst);
    assert_eq!(server.until("unhealthy").await.0, StatusCode::SERVICE_UNAVAILABLE);
    server.demo.seen().broken.store(false, Ordering::SeqCst);
    assert_eq!(server.until("degraded").await.0, StatusCode::OK);
}

#[tokio::test]
async fn metrics_name_known_tools_only() {
    let server = start(settings(), |server| server).await;
    for tool in ["echo", "fail", "made-up-1", "made-up-2"] {
        server.call(tool, &json!({"text": ""})).send().await.expect("answered");
    }
    let metrics = server.metrics().await;
    for (tool, status, count) in [("echo", "ok", 1), ("fail", "tool_error", 1), ("unknown", "error", 2)] {
        let line = format!(
            "mcp_tools_requests_total{{method=\"tools/call\",status=\"{status}\",tool=\"{tool}\"}} {count}"
        );
        assert!(metrics.contains(&line), "{line} is missing in\n{metrics}");
    }
    assert!(!metrics.contains("made-up"));
    let (_, report) = server.health().await;
    assert_eq!(
        (&report["metrics"]["request_count"], &report["metrics"]["error_count"]),
        (&json!(4), &json!(3))
    );
}

#[tokio::test]
async fn a_call_ends_when_its_client_goes() {
    let server = start(settings(), |server| server).await;
    let call = tokio::spawn(server.call("wait", &json!({})).send());
    counted(&server.demo.seen().began, "the call never came").await;
    call.abort();
    counted(&server.demo.seen().dropped, "the call goes on without its client").await;
    let counted = server.metrics().await;
    assert!(counted.contains("method=\"tools/call\",status=\"cancelled\",tool=\"wait\"} 1"), "{counted}");
}

#[tokio::test]
async fn an_end_drains_then_refuses_then_finishes() {
    let mut config = settings();
    config.shutdown.drain_seconds = 3;
    config.shutdown.grace_seconds = 30;
    let (flushed, flush) = oneshot::channel();
    let server = start(config, |server| {
        server.on_shutdown(async move {
            let _ = flushed.send(());
            Ok(())
        })
    })
    .await;
    server.until("healthy").await;
    let address = server.url.trim_start_matches("http://").to_owned();
    let idle = TcpStream::connect(&address).await.expect("connects");
    let slow = server.call("wait", &json!({"milliseconds": 3500}));
    let slow = tokio::spawn(async move { slow.send().await.expect("answered").text().await.expect("whole") });
    counted(&server.demo.seen().began, "the call never came").await;

    let (started, Running { url, stop, ended, demo }) = (Instant::now(), server);
    stop.send(()).expect("running");
    let server = Running { url, demo, stop: oneshot::channel().0, ended: tokio::spawn(async { Ok(()) }) };
    let (code, _) = server.until("draining").await;
    assert_eq!(code, StatusCode::SERVICE_UNAVAILABLE);
    let during = server.call("echo", &json!({"text": "still here"})).send().await.expect("answered");
    assert_eq!(
        (during.status(), &during.headers()["connection"]),
        (StatusCode::OK, &"close".parse().expect("a value"))
    );

    assert!(slow.await.expect("joined").contains("waited"));
    ended.await.expect("joined").expect("in order");
    let took = started.elapsed();
    assert!(took >= Duration::from_secs(3), "it did not drain: {took:?}");
    assert!(took < Duration::from_secs(30), "the idle connection held it: {took:?}");
    let deadline = Instant::now() + Duration::from_secs(10);
    // A process that another test is just starting holds what this one closed.
    while TcpStream::connect(&address).await.is_ok() {
        assert!(Instant::now() < deadline, "it still listens");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    flush.await.expect("flushed");
    drop(idle);
}

#[tokio::test]
async fn what_does_not_finish_in_time_is_cut_off_and_told() {
    let server = start(settings(), |server| server).await;
    let slow = tokio::spawn(server.call("wait", &json!({})).send());
    counted(&server.demo.seen().began, "the call never came").await;
    server.stop.send(()).expect("running");
    let error = server.ended.await.expect("joined").expect_err("cut off");
    assert!(error.to_string().contains("1 connections"), "{error}");
    // Cut off in the middle of an answer, or answered with a server error: no result either way.
    let answer = slow.await.expect("joined");
    assert!(answer.is_err() || answer.is_ok_and(|response| response.status().is_server_error()));
}
