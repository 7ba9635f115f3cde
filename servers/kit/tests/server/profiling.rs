//! Profiles: off by default, on loopback alone, and telling names of functions.

use super::{Running, client, start, start_on};
use crate::demo::settings;
use flate2::read::GzDecoder;
use mcp_system_config::{Profiling, ServerConfig, ToolsSettings};
use mcp_system_kit::{Overrides, Reloaded};
use reqwest::StatusCode;
use serde_json::Value;
use std::hint::black_box;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn profiled() -> ServerConfig<ToolsSettings> {
    ServerConfig { profiling: Profiling { enabled: true, port: Some(0) }, ..settings() }
}

/// Where the server offers profiles, as its health tells.
async fn offered(server: &Running) -> SocketAddr {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(told) = server.health().await.1["profiling"].as_str() {
            return told.parse().expect("an address");
        }
        assert!(Instant::now() < deadline, "no profiles are offered");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn get(address: SocketAddr, path: &str) -> (StatusCode, Vec<u8>) {
    let answer = client().get(format!("http://{address}{path}")).send().await.expect("answered");
    (answer.status(), answer.bytes().await.expect("whole").to_vec())
}

/// The protobuf of a profile as text: names stand in it as they are.
fn unpacked(profile: &[u8]) -> String {
    let mut bytes = Vec::new();
    GzDecoder::new(profile).read_to_end(&mut bytes).expect("gzip");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Works until it is told to stop; the profile should name it.
#[inline(never)]
fn work_that_the_profile_names(done: &AtomicBool) -> u64 {
    let mut sum = 0u64;
    while !done.load(Ordering::Relaxed) {
        for number in 0..10_000u64 {
            sum = black_box(sum.wrapping_mul(31).wrapping_add(number));
        }
    }
    sum
}

/// Holds memory; the profile should name who asked for it.
#[inline(never)]
fn memory_that_the_profile_names() -> Vec<Vec<u8>> {
    (0..64).map(|byte| black_box(vec![byte; 1 << 20])).collect()
}

#[tokio::test]
async fn nothing_is_offered_unless_the_settings_say_so() {
    let server = start(settings(), |server| server).await;
    let (_, report) = server.until("healthy").await;
    assert!(report.get("profiling").is_none(), "{report}");
    for path in ["/debug/pprof/profile?seconds=1", "/debug/pprof/heap", "/debug/tokio"] {
        let answer = client().get(format!("{}{path}", server.url)).send().await.expect("answered");
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn profiles_are_offered_on_loopback_whatever_address_the_server_has() {
    let server = start_on("0.0.0.0", profiled().into(), |server| server).await;
    let address = offered(&server).await;
    assert!(address.ip().is_loopback(), "{address}");
    let port = server.url.rsplit_once(':').expect("a port").1;
    assert_ne!(address.port().to_string(), port);
    for path in ["/debug/pprof/heap", "/debug/tokio"] {
        let answer = client().get(format!("{}{path}", server.url)).send().await.expect("answered");
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path} on the server's own port");
    }
    let elsewhere = client().get(format!("http://{address}/debug/tokio")).header("host", "example.com");
    assert_eq!(elsewhere.send().await.expect("answered").status(), StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_processor_profile_names_what_works_and_there_is_one_at_a_time() {
    let server = start(profiled(), |server| server).await;
    let address = offered(&server).await;
    for (path, told) in [
        ("/debug/pprof/profile?seconds=0", "from 1 to 60"),
        ("/debug/pprof/profile?seconds=61", "from 1 to 60"),
        ("/debug/pprof/profile?seconds=soon", "seconds"),
    ] {
        let (code, text) = get(address, path).await;
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(code == StatusCode::BAD_REQUEST && text.contains(told), "{path}: {code} {text}");
    }
    let done = Arc::new(AtomicBool::new(false));
    let worker = std::thread::spawn({
        let done = done.clone();
        move || work_that_the_profile_names(&done)
    });
    // Of two at once one is told to wait, whichever comes second.
    let (one, other) = tokio::join!(
        get(address, "/debug/pprof/profile?seconds=2"),
        get(address, "/debug/pprof/profile?seconds=2")
    );
    done.store(true, Ordering::Relaxed);
    worker.join().expect("worked");
    let (taken, refused) = if one.0 == StatusCode::OK { (one, other) } else { (other, one) };
    assert_eq!((taken.0, refused.0), (StatusCode::OK, StatusCode::CONFLICT));
    let told = String::from_utf8(refused.1).expect("text");
    assert!(told.contains("one at a time"), "{told}");
    let profile = unpacked(&taken.1);
    assert!(profile.contains("work_that_the_profile_names"), "the work is not named");
    assert!(!profile.contains("perf_signal_handler"), "what takes the samples is not the server's");
    assert!(profile.contains("nanoseconds"));
}

#[tokio::test]
async fn a_heap_profile_names_who_holds_memory() {
    let server = start(profiled(), |server| server).await;
    let address = offered(&server).await;
    let held = memory_that_the_profile_names();
    let (code, profile) = get(address, "/debug/pprof/heap").await;
    assert_eq!(code, StatusCode::OK, "{}", String::from_utf8_lossy(&profile));
    let profile = unpacked(&profile);
    assert!(profile.contains("memory_that_the_profile_names"), "the memory's holder is not named");
    assert!(profile.contains("inuse_space"));
    assert_eq!(held.len(), 64);
}

#[tokio::test]
async fn the_runtime_tells_of_itself() {
    let server = start(profiled(), |server| server).await;
    let (code, report) = get(offered(&server).await, "/debug/tokio").await;
    assert_eq!(code, StatusCode::OK);
    let report: Value = serde_json::from_slice(&report).expect("JSON");
    assert!(report["alive_tasks"].as_u64().expect("told") > 0, "{report}");
    let workers = report["workers"].as_array().expect("told");
    assert!(!workers.is_empty() && workers.iter().all(|worker| worker["parks"].is_u64()), "{report}");
}

#[tokio::test]
async fn the_switch_works_on_a_running_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.yaml");
    let written = |text: &str| std::fs::write(&file, text).expect("written");
    written("{listen: {port: 1}}");
    let reloaded = Reloaded::load(Some(&file), |_| None, Overrides::default()).expect("loads");
    let server = start_on("127.0.0.1", reloaded, |server| server).await;
    server.until("healthy").await;
    written("{listen: {port: 1}, profiling: {enabled: true, port: 0}}");
    let address = offered(&server).await;
    assert_eq!(get(address, "/debug/tokio").await.0, StatusCode::OK);
    written("{listen: {port: 1}}");
    let deadline = Instant::now() + Duration::from_secs(10);
    while client().get(format!("http://{address}/debug/tokio")).send().await.is_ok() {
        assert!(Instant::now() < deadline, "profiles are still offered");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(server.health().await.1.get("profiling").is_none());
}
