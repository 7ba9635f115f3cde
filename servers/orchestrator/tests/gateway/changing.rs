//! Servers that come, go and move while the gateway runs, because its file says so.

use crate::bench::Bench;
use crate::stage::{Running, call, forgetful, gateway, health, metrics_of, modern, names, settings, until};
use crate::{server_of, text_of};
use mcp_system_config::OrchestratorSettings;
use mcp_system_kit::{Overrides, Reloaded};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

fn write(file: &Path, backends: &[(&str, String)], call_timeout: u32) {
    let mut config = settings(backends);
    config.settings.gateway.call_timeout_seconds = call_timeout;
    std::fs::write(file, config.to_text()).expect("written");
}

async fn started(file: &Path) -> Running {
    let settings = Reloaded::<OrchestratorSettings>::load(Some(file), |_| None, Overrides::default());
    gateway(settings.expect("loads")).await
}

fn file() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.yaml");
    (folder, file)
}

#[tokio::test]
async fn a_server_comes_and_goes_without_the_others_noticing() {
    let (_folder, file) = file();
    let bench = Bench::new("stays", &["hang", "echo"]);
    let (stays, memory) = forgetful(bench.clone(), None).await;
    let (new, memory_of_new) = forgetful(Bench::new("new", &["fresh"]), None).await;
    write(&file, &[("stays", stays.url())], 60);
    let gateway = Arc::new(started(&file).await);
    assert_eq!(names(&gateway).await, ["echo", "hang"]);
    let hanging = tokio::spawn({
        let gateway = gateway.clone();
        async move { call(&gateway, "hang").await }
    });
    until("it hangs", || async { bench.counted().calls.load(Ordering::SeqCst) == 1 }).await;
    let session: Vec<_> = memory.sessions.read().await.keys().cloned().collect();

    write(&file, &[("new", new.url()), ("stays", stays.url())], 60);
    until("the new one is listed", || async { names(&gateway).await == ["echo", "fresh", "hang"] }).await;
    assert_eq!(server_of(&call(&gateway, "fresh").await), "new");
    until("it is shown", || async {
        let (_, report) = health(&gateway).await;
        report["dependencies"]["new"]["status"] == "healthy" && report["status"] == "healthy"
    })
    .await;
    let now: Vec<_> = memory.sessions.read().await.keys().cloned().collect();
    assert_eq!(now, session, "the session of the one that stays is the same");
    assert!(
        !hanging.is_finished() && bench.counted().given_up.load(Ordering::SeqCst) == 0,
        "its call goes on"
    );

    assert_eq!(memory_of_new.sessions.read().await.len(), 1);
    write(&file, &[("stays", stays.url())], 60);
    until("the new one is gone", || async { names(&gateway).await == ["echo", "hang"] }).await;
    until("its session is ended", || async { memory_of_new.sessions.read().await.is_empty() }).await;
    assert!(call(&gateway, "fresh").await["error"]["message"].as_str().expect("unknown").contains("fresh"));
    let (_, report) = health(&gateway).await;
    assert_eq!(report["dependencies"].as_object().expect("named").keys().collect::<Vec<_>>(), ["stays"]);
    let metrics = metrics_of(&gateway).await;
    assert!(
        !metrics.contains("backend_up{backend=\"new\"}") && metrics.contains("backend_up{backend=\"stays\"}")
    );
    assert!(!hanging.is_finished());
    hanging.abort();
}

#[tokio::test]
async fn a_server_that_moves_keeps_its_tools_listed() {
    let (_folder, file) = file();
    let (old, new) =
        (modern(Bench::new("old", &["x"]), None).await, modern(Bench::new("new", &["x"]), None).await);
    write(&file, &[("one", old.url())], 60);
    let gateway = started(&file).await;
    assert_eq!(server_of(&call(&gateway, "x").await), "old");
    write(&file, &[("one", new.url())], 60);
    until("it is called in its new place", || async {
        let answer = call(&gateway, "x").await;
        assert!(answer["error"].is_null(), "the tool was gone for a moment: {answer}");
        server_of(&answer) == "new"
    })
    .await;
}

#[tokio::test]
async fn a_new_time_limit_holds_for_the_next_call_and_bad_servers_change_nothing() {
    let (_folder, file) = file();
    let slow = modern(Bench::new("slow", &["hang", "echo"]), None).await;
    write(&file, &[("slow", slow.url())], 60);
    let gateway = started(&file).await;
    write(&file, &[("slow", slow.url()), ("slow", slow.url())], 1);
    until("it is refused", || async {
        let (_, report) = health(&gateway).await;
        let told = &report["configuration"]["settings"];
        told["status"] == "rejected" && told["message"].as_str().expect("told").contains("the same name")
    })
    .await;
    assert_eq!(server_of(&call(&gateway, "echo").await), "slow");
    write(&file, &[("slow", slow.url())], 1);
    until("it is taken", || async {
        health(&gateway).await.1["configuration"]["settings"] == json!({"status": "current"})
    })
    .await;
    let answer = call(&gateway, "hang").await;
    assert!(text_of(&answer).contains("no answer within 1 s"), "{answer}");
}
