//! Keys on a cluster: who gets in where, and that nobody but the pods reads them.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::site::{OPERATOR_USER, Site, eventually, on_site, server, system, text};
use crate::group::{Scenario, same};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("keys::servers_take_only_the_orchestrators_calls", only_the_orchestrators_calls),
        Scenario::new("keys::the_operator_makes_secrets_and_reads_none", operator_reads_none),
        Scenario::new("keys::a_deleted_secret_is_made_again", made_again),
        Scenario::new("keys::users_keys_guard_the_endpoint_and_change_without_a_restart", users_keys),
        Scenario::new("keys::a_new_setting_reaches_a_server_without_a_restart", reload),
    ]
}

const NAME: &str = "guarded";

fn guarded(site: &Site) -> Result<Value> {
    site.apply(&system(NAME, "{servers: {memory: {enabled: false}}}"))?;
    site.ready(NAME)
}

fn endpoint(server: &str, port: u16) -> String {
    format!("http://{NAME}-{server}.default.svc:{port}/mcp")
}

/// Lists the tools at an endpoint, with a key or without; gives the HTTP status and the answer.
fn list(site: &Site, url: &str, key: Option<&str>) -> Result<(String, Value)> {
    let params = json!({"_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": params}).to_string();
    // curl does not ask the cluster's DNS, so the Service's address is told to it.
    let (host, port) = url
        .trim_start_matches("http://")
        .trim_end_matches("/mcp")
        .split_once(':')
        .context("a URL with a port")?;
    let service = host.split('.').next().unwrap_or_default();
    let address = site.get(&["service", service])?["spec"]["clusterIP"].clone();
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--write-out", "\n%{http_code}", "--data", &body])
        .args(["--resolve", &format!("{host}:{port}:{}", text(&address))])
        .args(["--header", "content-type: application/json"])
        .args(["--header", "accept: application/json, text/event-stream"])
        .args(["--header", "mcp-protocol-version: 2026-07-28", "--header", "mcp-method: tools/list"]);
    if let Some(key) = key {
        command.args(["--header", &format!("authorization: Bearer {key}")]);
    }
    let output = command.arg(url).output().context("curl is missing: install it")?;
    ensure!(output.status.success(), "{url} does not answer: {}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let (answer, code) = printed.rsplit_once('\n').context("curl printed no code")?;
    Ok((code.to_owned(), serde_json::from_str(answer).unwrap_or_default()))
}

fn code(site: &Site, url: &str, key: Option<&str>) -> Result<String> {
    Ok(list(site, url, key)?.0)
}

/// A key of a Secret, as a person with rights of their own reads it.
fn secret(site: &Site, name: &str, key: &str) -> Result<String> {
    let template = format!("--output=go-template={{{{index .data \"{key}\" | base64decode}}}}");
    site.kubectl(&["get", "secret", name, &template])
}

fn pod_uid(site: &Site, component: &str) -> Result<String> {
    let selector = format!("app.kubernetes.io/instance={NAME},app.kubernetes.io/component={component}");
    let pods = site.get(&["pods", "--selector", &selector, "--field-selector=status.phase=Running"])?;
    let pods = pods["items"].as_array().cloned().unwrap_or_default();
    // One that is ending still runs.
    let stays = pods.iter().find(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    Ok(text(&stays.context("no pod stays")?["metadata"]["uid"]).to_owned())
}

fn only_the_orchestrators_calls() -> Result<()> {
    on_site(|site| {
        let object = guarded(site)?;
        same("tools", &server(&object, "tools")["answered"], &true)?;
        let tools = endpoint("tools", 8006);
        same("without a key", &code(site, &tools, None)?, "401")?;
        same("with a wrong key", &code(site, &tools, Some("0123456789abcdef"))?, "401")?;
        let key = secret(site, "guarded-callers", "orchestrator")?;
        same("with the orchestrator's key", &code(site, &tools, Some(&key))?, "200")?;
        eventually("the orchestrator offers tools", || {
            let (status, answer) = list(site, &endpoint("orchestrator", 8002), None)?;
            same("at the orchestrator", &status, "200")?;
            let offered = answer["result"]["tools"].as_array().map_or(0, Vec::len);
            Ok((offered > 0).then_some(()))
        })?;
        // The servers behind it learn only the hash of its key.
        let keys = secret(site, "guarded-callers", "keys.yaml")?;
        ensure!(!keys.contains(&key), "keys.yaml holds the key itself");
        let volumes =
            site.get(&["deployment", "guarded-tools"])?["spec"]["template"]["spec"]["volumes"].to_string();
        ensure!(volumes.contains("keys.yaml") && !volumes.contains("callers/orchestrator"), "{volumes}");
        let owner =
            site.get(&["secret", "guarded-callers"])?["metadata"]["ownerReferences"][0]["name"].clone();
        same("the Secret's owner", &owner, NAME)
    })
}

fn operator_reads_none() -> Result<()> {
    on_site(|site| {
        let may = |verb: &str| {
            let user = format!("--as={OPERATOR_USER}");
            // It fails when the answer is no, and prints it all the same.
            match site.kubectl(&["auth", "can-i", verb, "secrets", &user]) {
                Ok(answer) => answer.trim() == "yes",
                Err(_) => false,
            }
        };
        same("may create", &may("create"), &true)?;
        for verb in ["get", "list", "watch", "patch", "update", "delete"] {
            same(&format!("may {verb}"), &may(verb), &false)?;
        }
        Ok(())
    })
}

fn made_again() -> Result<()> {
    on_site(|site| {
        guarded(site)?;
        let before = secret(site, "guarded-callers", "orchestrator")?;
        site.kubectl(&["delete", "secret", "guarded-callers"])?;
        // Pods that run keep what they have; one that starts cannot, until the Secret is there again.
        let selector = format!("app.kubernetes.io/instance={NAME},app.kubernetes.io/component=tools");
        site.kubectl(&["delete", "pods", "--selector", &selector, "--grace-period=0", "--force"])?;
        let after = eventually("another Secret is there", || {
            Ok(secret(site, "guarded-callers", "orchestrator").ok().filter(|key| !key.is_empty()))
        })?;
        ensure!(after != before, "the key is the same");
        site.ready(NAME)?;
        eventually("the orchestrator has the new key", || {
            let (_, answer) = list(site, &endpoint("orchestrator", 8002), None)?;
            Ok(answer["result"]["tools"].as_array().is_some_and(|tools| !tools.is_empty()).then_some(()))
        })
    })
}

fn put_keys(site: &Site, key: &str) -> Result<()> {
    let keys = format!("keys: [{{principal: team, key: {key}, tenants: [team]}}]");
    site.apply(
        &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "team-keys"}, "stringData": {"keys.yaml": keys}})
            .to_string(),
    )
}

fn users_keys() -> Result<()> {
    on_site(|site| {
        let (first, second) = ("the-first-key-of-the-team", "the-second-key-of-the-team");
        put_keys(site, first)?;
        site.apply(&system(
            NAME,
            "{callers: {secretRef: {name: team-keys}}, servers: {memory: {enabled: false}}}",
        ))?;
        let url = endpoint("orchestrator", 8002);
        eventually("the orchestrator wants a key", || Ok((code(site, &url, None)? == "401").then_some(())))?;
        let object = site.ready(NAME)?;
        same("the orchestrator answered", &server(&object, "orchestrator")["answered"], &true)?;
        same("with the team's key", &code(site, &url, Some(first))?, "200")?;
        let before = pod_uid(site, "orchestrator")?;
        put_keys(site, second)?;
        eventually("the new key is taken, and the old one is not", || {
            let codes = (code(site, &url, Some(second))?, code(site, &url, Some(first))?);
            Ok((codes.0 == "200" && codes.1 == "401").then_some(()))
        })?;
        same("the orchestrator's pod", &pod_uid(site, "orchestrator")?, &before)?;
        site.kubectl(&["delete", "secret", "team-keys"]).map(drop)?;
        site.delete(&[NAME])?;
        match site.get(&["secret", "guarded-callers"]) {
            Ok(secret) => bail!("the Secret outlives its system: {secret}"),
            Err(_) => Ok(()),
        }
    })
}

fn reload() -> Result<()> {
    on_site(|site| {
        let object = guarded(site)?;
        let pods =
            || -> Result<[String; 2]> { Ok([pod_uid(site, "orchestrator")?, pod_uid(site, "tools")?]) };
        let before = pods()?;
        let offered = server(&object, "tools")["tools"].as_u64().context("tools are counted")?;
        // Another system's orchestrator stands in for somebody else's server.
        site.apply(&system("other", "{servers: {memory: {enabled: false}}}"))?;
        site.ready("other")?;
        site.apply(&system(
            NAME,
            "{servers: {memory: {enabled: false}}, extraServers: [{name: other, url: 'http://other-orchestrator.default.svc:8002/mcp'}]}",
        ))?;
        eventually("the orchestrator offers the tools of both", || {
            let (_, answer) = list(site, &endpoint("orchestrator", 8002), None)?;
            let tools = answer["result"]["tools"].as_array().map_or(0, Vec::len);
            Ok((u64::try_from(tools)? == 2 * offered).then_some(()))
        })?;
        same("the pods", &pods()?, &before)?;
        site.delete(&["other", NAME])
    })
}
