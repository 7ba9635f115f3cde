//! Settings that change while a server runs.

use super::{Running, start_on};
use anyhow::ensure;
use mcp_system_config::ToolsSettings;
use mcp_system_kit::breaker::State;
use mcp_system_kit::guarded::{Guarded, Verdict};
use mcp_system_kit::{Overrides, Reloaded};
use reqwest::StatusCode;
use serde_json::json;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const FIRST: &str = "{listen: {port: 1}, shutdown: {drainSeconds: 0, graceSeconds: 1}}";

async fn started(file: &Path) -> (Running, Reloaded<ToolsSettings>) {
    let settings = Reloaded::load(Some(file), |_| None, Overrides::default()).expect("loads");
    (start_on("127.0.0.1", settings.clone(), |server| server).await, settings)
}

async fn until_configuration(server: &Running, status: &str) -> serde_json::Value {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let report = server.health().await.1;
        if report["configuration"]["settings"]["status"] == status {
            return report;
        }
        assert!(Instant::now() < deadline, "it did not become {status}: {report}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_changed_file_is_taken_over_or_refused_as_a_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, FIRST).expect("written");
    let (server, settings) = started(&file).await;
    server.until("healthy").await;
    let large = || server.call("echo", &json!({"text": "x".repeat(2000)})).send();
    assert_eq!(large().await.expect("answered").status(), StatusCode::OK);

    // Wrong in one field: the others stay as they were, too.
    std::fs::write(&file, "{listen: {maxBodyBytes: 1000, prot: 2}}").expect("written");
    let report = until_configuration(&server, "rejected").await;
    assert_eq!(report["status"], "degraded");
    let message = report["configuration"]["settings"]["message"].as_str().expect("told");
    assert!(message.contains("config.yaml") && message.contains("prot"), "{message}");
    assert_eq!(large().await.expect("answered").status(), StatusCode::OK);
    let metrics = server.metrics().await;
    for line in [
        "mcp_tools_config_last_reload_successful{file=\"settings\"} 0",
        "mcp_tools_config_reloads_total{file=\"settings\",outcome=\"rejected\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
    }

    // Whole again, with one field that only a restart puts in force.
    std::fs::write(&file, "{listen: {port: 2, maxBodyBytes: 1000}}").expect("written");
    let report = until_configuration(&server, "restart_required").await;
    assert_eq!(report["status"], "healthy");
    assert_eq!(report["configuration"]["settings"]["fields"], json!(["listen.port"]));
    let deadline = Instant::now() + Duration::from_secs(5);
    while large().await.expect("answered").status() != StatusCode::PAYLOAD_TOO_LARGE {
        assert!(Instant::now() < deadline, "the new limit is not in force");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(settings.current().listen.port, 1);
    let metrics = server.metrics().await;
    for line in [
        "mcp_tools_config_last_reload_successful{file=\"settings\"} 1",
        "mcp_tools_config_reloads_total{file=\"settings\",outcome=\"applied\"} 1",
        "mcp_tools_config_restart_required{file=\"settings\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
    }
    assert!(metrics.contains("config_last_reload_success_timestamp_seconds{file=\"settings\"} 1"));
}

#[tokio::test]
async fn a_file_that_the_settings_name_is_taken_over_or_refused_as_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, named) = (folder.path().join("config.yaml"), folder.path().join("named"));
    std::fs::write(&file, FIRST).expect("written");
    std::fs::write(&named, "good").expect("written");
    let settings =
        Reloaded::<ToolsSettings>::load(Some(&file), |_| None, Overrides::default()).expect("loads");
    let path = named.clone();
    let content = move || std::fs::read_to_string(&path).unwrap_or_default();
    let in_force = Arc::new(Mutex::new(content()));
    let tell = content.clone();
    settings.beside(move |_| tell());
    let shared = in_force.clone();
    settings.prepare(move |_| {
        let (content, in_force) = (content(), shared.clone());
        ensure!(content != "bad", "what the settings name is bad");
        Ok(Box::new(move || *in_force.lock().expect("whole") = content))
    });
    let server = start_on("127.0.0.1", settings, |server| server).await;
    server.until("healthy").await;
    std::fs::write(&named, "bad").expect("written");
    let report = until_configuration(&server, "rejected").await;
    let message = report["configuration"]["settings"]["message"].as_str().expect("told");
    assert!(message.contains("what the settings name is bad"), "{message}");
    assert_eq!(*in_force.lock().expect("whole"), "good");
    std::fs::write(&named, "better").expect("written");
    until_configuration(&server, "current").await;
    assert_eq!(*in_force.lock().expect("whole"), "better");
    let metrics = server.metrics().await;
    for outcome in ["rejected", "applied"] {
        let line = format!("mcp_tools_config_reloads_total{{file=\"settings\",outcome=\"{outcome}\"}} 1");
        assert!(metrics.contains(&line), "{line} is missing in\n{metrics}");
    }
}

#[tokio::test]
async fn a_guard_follows_the_settings() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, FIRST).expect("written");
    let settings = Reloaded::load(Some(&file), |_| None, Overrides::default()).expect("loads");
    let guarded = Arc::new(Guarded::unmeasured("store", &settings.current().resilience));
    let guard = guarded.clone();
    let server = start_on("127.0.0.1", settings.clone(), |server| server.guarded(guard)).await;
    server.until("healthy").await;
    let fail = || async {
        let deadline = Duration::from_secs(5);
        let _ = guarded.call(deadline, |_| Verdict::Failed, || async { Err::<(), _>("gone") }).await;
        guarded.state()
    };
    assert_eq!(fail().await, State::Closed, "five failures open it by default");
    let mut changes = settings.subscribe();
    std::fs::write(&file, "{listen: {port: 1}, resilience: {failureThreshold: 1}}").expect("written");
    tokio::time::timeout(Duration::from_secs(10), changes.changed()).await.expect("in time").expect("open");
    guarded.heard();
    // The change reaches the guard a moment after it was told.
    let deadline = Instant::now() + Duration::from_secs(5);
    while fail().await != State::Open {
        guarded.heard();
        assert!(Instant::now() < deadline, "one failure does not open it");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_hangup_has_the_file_looked_at_and_ends_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, FIRST).expect("written");
    let (server, settings) = started(&file).await;
    server.until("healthy").await;
    let mut changes = settings.subscribe();
    std::fs::write(&file, "{listen: {port: 1}, log: {level: warn}}").expect("written");
    nix::sys::signal::raise(nix::sys::signal::Signal::SIGHUP).expect("raised");
    tokio::time::timeout(Duration::from_secs(10), changes.changed()).await.expect("in time").expect("open");
    assert_eq!(settings.current().log.level.name(), "warn");
    assert_eq!(until_configuration(&server, "current").await["status"], "healthy");
}
