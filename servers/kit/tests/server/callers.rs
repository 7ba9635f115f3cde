//! Who may call, as callers with keys, without and with wrong ones see it.

use super::{Running, client, start, start_on};
use crate::demo::settings;
use mcp_system_config::Anonymous;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};
use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

const ALICE: &str = "the-key-of-alice-0001";
const BOB: &str = "the-key-of-bob-000001";

fn write(path: &Path, keys: &[(&str, &str, &str)]) {
    let entries = keys.iter().map(|(principal, key, tenants)| {
        format!("{{principal: {principal}, key: {key}, tenants: [{tenants}]}}")
    });
    std::fs::write(path, format!("keys: [{}]", entries.collect::<Vec<_>>().join(", "))).expect("written");
}

async fn guarded(keys: &Path) -> Running {
    let mut config = settings();
    config.callers.keys_file = Some(keys.to_owned());
    start(config, |server| server).await
}

/// Who the server says called, or the status and the message with which it refused.
async fn asked(request: RequestBuilder) -> Result<String, (StatusCode, String)> {
    let response = request.send().await.expect("answered");
    let status = response.status();
    let answer: Value = response.json().await.expect("JSON");
    match answer["result"]["content"][0]["text"].as_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err((status, answer["error"]["message"].as_str().expect("a message").to_owned())),
    }
}

fn whoami(server: &Running) -> RequestBuilder {
    server.call("whoami", &json!({}))
}

#[tokio::test]
async fn a_key_opens_the_endpoint_for_its_tenants_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = folder.path().join("keys.yaml");
    write(&keys, &[("alice", ALICE, "red, blue"), ("root", BOB, "'*'")]);
    let server = guarded(&keys).await;
    assert_eq!(server.until("healthy").await.1["tools"], 5, "its question to itself needs no key");

    let refused = whoami(&server).send().await.expect("answered");
    assert_eq!(refused.headers()["www-authenticate"], "Bearer realm=\"mcp-system\"");
    let (status, message) = asked(whoami(&server)).await.expect_err("no key");
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(message.contains("Authorization: Bearer KEY"), "{message}");
    let (status, message) = asked(whoami(&server).bearer_auth("wrong")).await.expect_err("a wrong key");
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(message.contains("not known here"), "{message}");

    let alice = || whoami(&server).bearer_auth(ALICE);
    assert_eq!(asked(alice()).await, Ok("alice red".to_owned()));
    assert_eq!(asked(alice().header("mcp-tenant", "blue")).await, Ok("alice blue".to_owned()));
    let (status, message) = asked(alice().header("mcp-tenant", "green")).await.expect_err("not hers");
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(message.contains("may not touch the tenant \"green\"; it may touch red, blue"), "{message}");
    let (status, _) = asked(alice().header("mcp-tenant", "a b")).await.expect_err("no name");
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(asked(whoami(&server).bearer_auth(BOB)).await, Ok("root default".to_owned()));
    let any = whoami(&server).bearer_auth(BOB).header("mcp-tenant", "any");
    assert_eq!(asked(any).await, Ok("root any".to_owned()));

    // A mark that is made up opens nothing, and a browser may ask beforehand.
    let forged = whoami(&server).header("mcp-system-self-check", "0".repeat(32));
    assert_eq!(asked(forged).await.expect_err("forged").0, StatusCode::UNAUTHORIZED);
    let asking = client().request(reqwest::Method::OPTIONS, format!("{}/mcp", server.url));
    let allowed = asking.header("origin", "http://localhost:6274").send().await.expect("answered");
    assert_eq!(allowed.status(), StatusCode::NO_CONTENT);
    let headers = allowed.headers()["access-control-allow-headers"].to_str().expect("text");
    assert!(headers.contains("authorization") && headers.contains("mcp-tenant"), "{headers}");
    for open in ["/health", "/health/live", "/metrics"] {
        let response = client().get(format!("{}{open}", server.url)).send().await.expect("answered");
        assert_eq!(response.status(), StatusCode::OK, "{open}");
    }
    assert!(server.metrics().await.contains("http_rejected_total{code=\"401\"} 4"), "counted");
}

#[tokio::test]
async fn a_key_of_some_agents_stays_within_them_and_a_changed_list_is_taken_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = folder.path().join("keys.yaml");
    write(&keys, &[("alice", ALICE, "red], agents: [a, b"), ("root", BOB, "'*'")]);
    let server = guarded(&keys).await;
    let told = async |key: &str, agents: Option<&str>| {
        let request = whoami(&server).bearer_auth(key);
        asked(match agents {
            Some(agents) => request.header("mcp-agents", agents),
            None => request,
        })
        .await
    };
    assert_eq!(told(ALICE, None).await, Ok("alice red a+b".to_owned()));
    assert_eq!(told(ALICE, Some("b, c")).await, Ok("alice red b".to_owned()), "the header adds nothing");
    assert_eq!(told(BOB, None).await, Ok("root default".to_owned()));
    assert_eq!(told(BOB, Some("c")).await, Ok("root default c".to_owned()));
    let (status, message) = told(BOB, Some("c*")).await.expect_err("no name");
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(message.contains("Mcp-Agents") && message.contains("the whole name of one agent"), "{message}");

    write(&keys, &[("alice", ALICE, "red], agents: [b"), ("root", BOB, "'*'")]);
    let deadline = Instant::now() + Duration::from_secs(10);
    while told(ALICE, None).await != Ok("alice red b".to_owned()) {
        assert!(Instant::now() < deadline, "the shorter list is not known");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_body_is_not_read_before_the_key_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = folder.path().join("keys.yaml");
    write(&keys, &[("alice", ALICE, "red")]);
    let server = guarded(&keys).await;
    // A body that never ends: only an answer that does not wait for it arrives.
    let endless = futures::stream::pending::<Result<Vec<u8>, std::io::Error>>();
    let request = server.post(reqwest::Body::wrap_stream(endless)).timeout(Duration::from_secs(10));
    assert_eq!(request.send().await.expect("answered").status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn keys_are_taken_over_when_their_file_changes_and_kept_when_it_breaks() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = folder.path().join("keys.yaml");
    write(&keys, &[("alice", ALICE, "red")]);
    let server = guarded(&keys).await;
    server.until("healthy").await;

    std::fs::write(&keys, "keys: [{principal: alice, key: short, tenants: [red]}]").expect("written");
    let (_, report) = server.until("degraded").await;
    let message = report["configuration"]["keys"]["message"].as_str().expect("told");
    assert!(message.contains("keys.yaml") && message.contains("shorter than 16"), "{message}");
    assert_eq!(
        asked(whoami(&server).bearer_auth(ALICE)).await,
        Ok("alice red".to_owned()),
        "the old one stays"
    );
    assert!(server.metrics().await.contains("config_last_reload_successful{file=\"keys\"} 0"));

    write(&keys, &[("bob", BOB, "blue")]);
    let deadline = Instant::now() + Duration::from_secs(10);
    while asked(whoami(&server).bearer_auth(BOB)).await.is_err() {
        assert!(Instant::now() < deadline, "the new key is not known");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(asked(whoami(&server).bearer_auth(BOB)).await, Ok("bob blue".to_owned()));
    assert_eq!(
        asked(whoami(&server).bearer_auth(ALICE)).await.expect_err("withdrawn").0,
        StatusCode::UNAUTHORIZED
    );
    let (_, report) = server.until("healthy").await;
    assert_eq!(report["configuration"]["keys"], json!({"status": "current"}));
}

#[tokio::test]
async fn a_server_that_was_told_to_want_keys_does_not_begin_without() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = settings();
    config.callers.keys_file = Some(folder.path().join("missing"));
    let server = start(config.clone(), |server| server).await;
    let error = format!("{:#}", server.ended.await.expect("joined").expect_err("no keys"));
    assert!(error.contains("missing (callers.keysFile) cannot be read"), "{error}");
    std::fs::write(folder.path().join("missing"), "").expect("written");
    let server = start(config, |server| server).await;
    let error = format!("{:#}", server.ended.await.expect("joined").expect_err("no keys"));
    assert!(error.contains("is no keys file"), "{error}");
}

#[tokio::test]
async fn without_keys_only_this_machine_calls_unless_the_network_is_trusted() {
    let Some(own) = own_address() else {
        println!("this machine has no address besides loopback, so nobody could call from elsewhere");
        return;
    };
    for (anonymous, expected) in [(Anonymous::Loopback, None), (Anonymous::Network, Some("owner default"))] {
        let mut config = settings();
        config.callers.anonymous = anonymous;
        config.listen.allowed_hosts = vec![own.to_string()];
        let server = start_on("0.0.0.0", config.into(), |server| server).await;
        assert_eq!(asked(whoami(&server)).await, Ok("owner default".to_owned()));
        let tenant = whoami(&server).header("mcp-tenant", "other");
        assert_eq!(asked(tenant).await, Ok("owner other".to_owned()), "everything is the owner's");

        let port = server.url.rsplit(':').next().expect("a port");
        let outside = Running { url: format!("http://{own}:{port}"), ..server };
        match (asked(whoami(&outside)).await, expected) {
            (Ok(who), Some(expected)) => assert_eq!(who, expected),
            (Err((status, message)), None) => {
                assert_eq!(status, StatusCode::FORBIDDEN);
                assert!(message.contains("callers.keysFile"), "{message}");
            }
            other => panic!("{other:?}"),
        }
    }
}

/// An address of this machine that is not loopback. Nothing is sent to find it.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_loopback())
}
