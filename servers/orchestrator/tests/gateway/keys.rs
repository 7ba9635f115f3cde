//! Keys: of the gateway's clients, and of the gateway towards the servers behind it.

use crate::bench::Bench;
use crate::stage::{Running, call, gateway, guarded, health, names, post, sessions, settings, until};
use crate::text_of;
use mcp_system_config::Callers;
use serde_json::{Value, json};
use std::path::Path;

const CLIENT: &str = "the-key-of-a-client-1";
const OWN: &str = "the-gateways-own-key-1";
const NEXT: &str = "the-gateways-next-key-2";

fn keys(path: &Path, principal: &str, keys: &[&str], tenants: &str) -> Callers {
    let entries =
        keys.iter().map(|key| format!("{{principal: {principal}, key: {key}, tenants: [{tenants}]}}"));
    std::fs::write(path, format!("keys: [{}]", entries.collect::<Vec<_>>().join(", "))).expect("written");
    Callers { keys_file: Some(path.to_owned()), ..Callers::default() }
}

async fn told(running: &Running, tool: &str, key: Option<&str>, tenant: Option<&str>) -> Value {
    let mut request = post(running, "tools/call", &json!({"name": tool, "arguments": {}}));
    if let Some(key) = key {
        request = request.bearer_auth(key);
    }
    if let Some(tenant) = tenant {
        request = request.header("mcp-tenant", tenant);
    }
    let answer: Value = request.send().await.expect("answered").json().await.expect("JSON");
    if answer["error"].is_null() {
        answer["result"]["structuredContent"].clone()
    } else {
        answer["error"].clone()
    }
}

#[tokio::test]
async fn a_clients_key_stays_at_the_gateway_and_its_tenant_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let callers = keys(&folder.path().join("behind.yaml"), "orchestrator", &[OWN], "'*'");
    let own = guarded(Bench::new("own", &["told"]), None, callers).await;
    // A server of others, of before, which wants no key and would see whatever is sent.
    let other = sessions(Bench::new("other", &["told"]), None).await;
    let key_file = folder.path().join("orchestrator");
    std::fs::write(&key_file, format!("{OWN}\n")).expect("written");
    let mut config = settings(&[("other", other.url()), ("own", own.url())]);
    config.settings.backends[1].key_file = Some(key_file);
    config.callers = keys(&folder.path().join("keys.yaml"), "client", &[CLIENT], "red, blue");
    let gateway = gateway(config).await;

    assert!(
        told(&gateway, "own_told", None, None).await["message"].as_str().expect("refused").contains("key")
    );
    for (tenant, expected) in [(None, "red"), (Some("blue"), "blue")] {
        let seen = json!({
            "authorization": null, "tenant": expected, "agents": null, "principal": "orchestrator", "for": expected
        });
        assert_eq!(told(&gateway, "own_told", Some(CLIENT), tenant).await, seen);
        let seen = told(&gateway, "other_told", Some(CLIENT), tenant).await;
        assert_eq!((&seen["authorization"], &seen["tenant"]), (&Value::Null, &json!(expected)));
    }
    let refused = told(&gateway, "own_told", Some(CLIENT), Some("green")).await;
    assert!(refused["message"].as_str().expect("refused").contains("may not touch"), "{refused}");
}

#[tokio::test]
async fn the_agents_of_a_clients_key_go_on_and_no_header_adds_to_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let callers = keys(&folder.path().join("behind.yaml"), "orchestrator", &[OWN], "'*'");
    let own = guarded(Bench::new("own", &["told"]), None, callers).await;
    let other = sessions(Bench::new("other", &["told"]), None).await;
    let key_file = folder.path().join("orchestrator");
    std::fs::write(&key_file, OWN).expect("written");
    let mut config = settings(&[("other", other.url()), ("own", own.url())]);
    config.settings.backends[1].key_file = Some(key_file);
    config.callers = keys(&folder.path().join("keys.yaml"), "client", &[CLIENT], "red], agents: [a, b c");
    let gateway = gateway(config).await;
    for tool in ["own_told", "other_told"] {
        for (asked, expected) in [(None, "a,b c"), (Some("b c, secret"), "b c"), (Some("secret"), "")] {
            let mut request = post(&gateway, "tools/call", &json!({"name": tool, "arguments": {}}));
            request = request.bearer_auth(CLIENT);
            if let Some(agents) = asked {
                request = request.header("mcp-agents", agents);
            }
            let answer: Value = request.send().await.expect("answered").json().await.expect("JSON");
            let seen = &answer["result"]["structuredContent"]["agents"];
            assert_eq!(seen, expected, "{tool} {asked:?}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_server_that_turns_a_tenant_away_is_no_broken_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let callers = keys(&folder.path().join("behind.yaml"), "orchestrator", &[OWN], "red");
    let own = guarded(Bench::new("own", &["told"]), None, callers).await;
    let key_file = folder.path().join("orchestrator");
    std::fs::write(&key_file, OWN).expect("written");
    let mut config = settings(&[("own", own.url())]);
    config.settings.backends[0].key_file = Some(key_file);
    config.resilience.failure_threshold = 1;
    config.callers = keys(&folder.path().join("keys.yaml"), "client", &[CLIENT], "red, blue");
    let gateway = gateway(config).await;
    let request = post(&gateway, "tools/call", &json!({"name": "told", "arguments": {}}));
    let request = request.bearer_auth(CLIENT).header("mcp-tenant", "blue");
    let answer: Value = request.send().await.expect("answered").json().await.expect("JSON");
    let text = text_of(&answer);
    assert!(text.contains("turned the request away (HTTP 403") && text.contains("may not touch"), "{answer}");
    assert_eq!(told(&gateway, "told", Some(CLIENT), None).await["for"], "red");
}

#[tokio::test]
async fn a_key_that_is_missing_or_wrong_is_named_and_a_new_one_is_taken_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let behind = folder.path().join("behind.yaml");
    let callers = keys(&behind, "orchestrator", &[OWN, NEXT], "'*'");
    let server = guarded(Bench::new("own", &["echo"]), None, callers).await;
    let key_file = folder.path().join("orchestrator");
    let mut config = settings(&[("own", server.url())]);
    config.settings.backends[0].key_file = Some(key_file.clone());
    config.settings.settle_milliseconds = 0;
    let gateway = gateway(config).await;
    let message = || async {
        health(&gateway).await.1["dependencies"]["own"]["message"].as_str().unwrap_or_default().to_owned()
    };
    until("the missing file is named", || async { message().await.contains("cannot be read") }).await;
    std::fs::write(&key_file, "a-wrong-key-00000").expect("written");
    until("the wrong key is told", || async { message().await.contains("does not know the key in") }).await;
    assert!(!message().await.contains("a-wrong-key"), "a key was told");
    std::fs::write(&key_file, OWN).expect("written");
    until("the tool is listed", || async { names(&gateway).await == ["echo"] }).await;
    assert_eq!(call(&gateway, "echo").await["result"]["structuredContent"]["server"], "own");

    // The server's keys and the gateway's are replaced: no call fails in between, whoever is first.
    std::fs::write(&key_file, NEXT).expect("written");
    keys(&behind, "orchestrator", &[NEXT], "'*'");
    until("the old key is withdrawn", || async {
        let client = mcp_system_kit::http_client().expect("a client");
        let asked = client.post(server.url()).bearer_auth(OWN).body("{}").send().await.expect("answered");
        let answer = call(&gateway, "echo").await;
        assert_eq!(answer["result"]["structuredContent"]["server"], "own", "{}", text_of(&answer));
        asked.status() == 401
    })
    .await;
    assert_eq!(call(&gateway, "echo").await["result"]["structuredContent"]["server"], "own");
}
