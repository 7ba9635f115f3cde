//! A real Prometheus, configured by the Prometheus Operator from our ServiceMonitors.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use mcp_system_tests::clients::{Era, Sdk, Step};
use serde_json::Value;

use super::site::{OPERATOR, Site, eventually, on_any_site, on_site, system, text};
use super::system::MINIMAL;
use crate::group::{Scenario, same};

/// The alert rules before the chart fills in its labels.
const ALERTS: &str = include_str!("../../../charts/mcp-system/files/alerts.yaml");

/// What begins without Prometheus, and so comes before all others.
pub(super) fn first_scenarios() -> Vec<Scenario> {
    vec![Scenario::new("monitoring::servers_get_monitors_once_the_cluster_knows_them", later)]
}

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("monitoring::prometheus_answers_for_every_server", answers_for_every_server),
        Scenario::new("monitoring::prometheus_answers_for_the_operator", answers_for_the_operator),
        Scenario::new("monitoring::alert_rules_are_loaded_and_miss_what_is_not_there", alerts),
        Scenario::new("monitoring::dashboards_ask_what_prometheus_can_answer", dashboards),
        Scenario::new("monitoring::off_means_off", off),
    ]
}

/// The ServiceMonitors of a system.
fn monitors(site: &Site, system: &str) -> Result<usize> {
    let selector = format!("--selector=app.kubernetes.io/instance={system}");
    let list = site.get(&["servicemonitors", &selector])?;
    Ok(list["items"].as_array().map_or(0, Vec::len))
}

fn operator_pods(site: &Site) -> Result<Vec<Value>> {
    let selector = "--selector=app.kubernetes.io/component=operator";
    let pods = site.get(&["pods", "--namespace", OPERATOR, selector])?;
    Ok(pods["items"].as_array().cloned().unwrap_or_default())
}

/// The operator's pods, and how often each began anew.
fn operators(site: &Site) -> Result<Vec<String>> {
    let told = |pod: &Value| {
        let restarts = &pod["status"]["containerStatuses"][0]["restartCount"];
        format!("{} began anew {restarts} times", pod["metadata"]["uid"])
    };
    let mut pods: Vec<String> = operator_pods(site)?.iter().map(told).collect();
    pods.sort();
    Ok(pods)
}

fn later() -> Result<()> {
    const DEFINITION: &str = "customresourcedefinition/servicemonitors.monitoring.coreos.com";
    on_any_site(|site| {
        let known = site.kubectl(&["get", DEFINITION, "--ignore-not-found", "--output=name"])?;
        ensure!(known.is_empty(), "the cluster knows ServiceMonitors already: begin with one that does not");
        site.apply(&system("early", "{servers: {memory: {enabled: false}}}"))?;
        site.ready("early")?;
        let before = operators(site)?;
        site.prometheus()?;
        eventually("each of its servers has one", || Ok((monitors(site, "early")? == 2).then_some(())))?;
        same("the operators", &operators(site)?, &before)?;
        site.delete(&["early"])
    })
}

/// Asks the HTTP API of Prometheus.
fn api(site: &Site, path: &str, parameters: &[&str]) -> Result<Value> {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--fail", "--get"]);
    for parameter in parameters {
        curl.args(["--data-urlencode", *parameter]);
    }
    curl.arg(format!("{}/api/v1/{path}", site.prometheus()?));
    let output = curl.output().context("curl is missing: install it")?;
    ensure!(output.status.success(), "Prometheus does not answer: {output:?}");
    let mut answer: Value = serde_json::from_slice(&output.stdout).context("Prometheus gave no JSON")?;
    same("the answer", &answer["status"], "success")?;
    Ok(answer["data"].take())
}

fn query(site: &Site, expression: &str) -> Result<Vec<Value>> {
    let data = api(site, "query", &[&format!("query={expression}")])
        .with_context(|| format!("the expression was {expression}"))?;
    Ok(data["result"].as_array().cloned().unwrap_or_default())
}

/// Each of the names that dashboards rely on, for each server.
fn answers_for_every_server() -> Result<()> {
    on_site(|site| {
        site.apply(&MINIMAL.replace("spec: {}", "spec: {monitoring: {interval: 1s}}"))?;
        let object = site.ready("minimal")?;
        // The orchestrator asks the others; nobody asks it unless a client does.
        let url = text(&object["status"]["url"]);
        site.clients.run(Sdk::Python, Era::Modern, url, &[Step::list_tools("tools")])?;
        for server in ["orchestrator", "memory", "tools"] {
            for metric in [
                "requests_total",
                "request_duration_seconds_count",
                "active_connections",
                "error_rate",
                "memory_usage_mb",
            ] {
                let expression = format!("mcp_{server}_{metric}{{service=\"minimal-{server}\"}}");
                eventually(&format!("Prometheus knows {expression}"), || {
                    Ok((!query(site, &expression)?.is_empty()).then_some(()))
                })?;
            }
        }
        Ok(())
    })
}

fn answers_for_the_operator() -> Result<()> {
    on_site(|site| {
        for metric in [
            r#"mcp_operator_reconciles_total{result="ok"}"#,
            "mcp_operator_reconcile_duration_seconds_count",
            "mcp_operator_writes_total",
        ] {
            eventually(&format!("Prometheus knows {metric}"), || {
                Ok((!query(site, metric)?.is_empty()).then_some(()))
            })?;
        }
        eventually("one operator leads", || {
            let leaders = query(site, "sum(mcp_operator_leader)")?;
            Ok(leaders.first().is_some_and(|sample| sample["value"][1] == "1").then_some(()))
        })?;
        eventually("its pods are told apart", || {
            let samples = query(site, "sum by (pod) (mcp_operator_leader)")?;
            let told: BTreeSet<&str> = samples.iter().map(|sample| text(&sample["metric"]["pod"])).collect();
            let pods = operator_pods(site)?;
            let pods: BTreeSet<&str> = pods.iter().map(|pod| text(&pod["metadata"]["name"])).collect();
            Ok((told == pods).then_some(()))
        })?;

        site.apply(&MINIMAL.replace("spec: {}", "spec: {monitoring: {interval: 1s}}"))?;
        site.ready("minimal")?;
        let shown = r#"mcp_operator_system_condition{exported_namespace="default", name="minimal"}"#;
        eventually("a system that is ready is shown as that, by one operator", || {
            let samples = query(site, shown)?;
            let mut states: Vec<(&str, &str)> = samples
                .iter()
                .map(|sample| (text(&sample["metric"]["condition"]), text(&sample["value"][1])))
                .collect();
            states.sort_unstable();
            Ok((states == [("Degraded", "0"), ("Ready", "1"), ("Stalled", "0")]).then_some(()))
        })
    })
}

fn off() -> Result<()> {
    on_site(|site| {
        let spec = |enabled: bool| {
            format!("{{monitoring: {{enabled: {enabled}}}, servers: {{memory: {{enabled: false}}}}}}")
        };
        for (enabled, expected) in [(true, 2), (false, 0), (true, 2)] {
            site.apply(&system("watched", &spec(enabled)))?;
            eventually(&format!("{expected} ServiceMonitors"), || {
                Ok((monitors(site, "watched")? == expected).then_some(()))
            })?;
        }
        site.delete(&["watched"])
    })
}

/// The alert rules of the chart, as Prometheus has them.
fn rules(site: &Site) -> Result<Vec<Value>> {
    let data = api(site, "rules", &["type=alert"])?;
    let groups = data["groups"].as_array().into_iter().flatten();
    let ours = groups.filter(|group| text(&group["name"]).starts_with("mcp-system-"));
    Ok(ours.flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect())
}

/// What an alert rule tells of now: what it has waited for long enough, and what it waits for.
fn told<'a>(rules: &'a [Value], alert: &str) -> impl Iterator<Item = &'a Value> {
    let rule = rules.iter().find(|rule| rule["name"] == alert);
    rule.and_then(|rule| rule["alerts"].as_array()).into_iter().flatten()
}

/// Whether Prometheus evaluates an alert and sees no reason for it.
fn is_quiet(rules: &[Value], alert: &str) -> bool {
    rules.iter().any(|rule| rule["name"] == alert && rule["state"] == "inactive")
}

fn alerts() -> Result<()> {
    let mut expected: Vec<&str> =
        ALERTS.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    expected.sort_unstable();
    on_site(|site| {
        let loaded = eventually("Prometheus has evaluated the alert rules", || {
            let rules = rules(site)?;
            let wrong = rules.iter().find(|rule| rule["health"] == "err");
            ensure!(wrong.is_none(), "an alert rule cannot be evaluated: {wrong:?}");
            let evaluated = rules.iter().all(|rule| rule["health"] == "ok");
            Ok((evaluated && rules.len() >= expected.len()).then_some(rules))
        })?;
        let mut names: Vec<&str> = loaded.iter().map(|rule| text(&rule["name"])).collect();
        names.sort_unstable();
        same("the alerts", &names, &expected)?;

        // They know the operator by its labels: one that is there is not missed.
        eventually("the operator is not missed", || {
            let rules = rules(site)?;
            let quiet = is_quiet(&rules, "McpOperatorDown") && is_quiet(&rules, "McpOperatorHasNoLeader");
            Ok(quiet.then_some(()))
        })?;

        // And what is not there is.
        let nowhere = "extraServers: [{name: nowhere, url: 'http://nowhere.default.svc:8000/mcp'}]";
        let spec =
            format!("{{monitoring: {{interval: 1s}}, servers: {{memory: {{enabled: false}}}}, {nowhere}}}");
        site.apply(&system("lonely", &spec))?;
        let alert = eventually("the server that is not there is missed", || {
            let rules = rules(site)?;
            let mut down = told(&rules, "McpBackendDown");
            Ok(down.find(|alert| alert["labels"]["service"] == "lonely-orchestrator").cloned())
        })?;
        same("the backend", &alert["labels"]["backend"], "nowhere")?;
        same("the severity", &alert["labels"]["severity"], "warning")?;
        let summary = "The server nowhere does not answer the orchestrator.";
        same("what is said", &alert["annotations"]["summary"], summary)?;
        let silent = eventually("the operator misses it too, and tells whose it is", || {
            let rules = rules(site)?;
            let mut silent = told(&rules, "McpServerSilent");
            Ok(silent.find(|alert| alert["labels"]["name"] == "lonely").cloned())
        })?;
        same("the server", &silent["labels"]["server"], "nowhere")?;
        same("who is called", &silent["labels"]["namespace"], "default")?;
        let summary = "The server nowhere of the McpSystem lonely does not answer MCP requests.";
        same("what is said", &silent["annotations"]["summary"], summary)?;
        site.delete(&["lonely"])
    })
}

/// The dashboards, the namespaces that they are to look at, and panels that show something of a system that is ready.
const DASHBOARDS: [(&str, &str, &[&str]); 2] = [
    (
        "mcp-system-operator.json",
        OPERATOR,
        &[
            "Operators that lead",
            "Operators",
            "Systems",
            "Systems ready",
            "Systems not ready",
            "Looks",
            "Time of a look",
            "Leader",
            "Memory",
        ],
    ),
    (
        "mcp-system-servers.json",
        "default",
        &["Pods", "Servers behind the orchestrator", "Settings", "Requests", "Memory", "Processor"],
    ),
];

/// Every query of every panel, as Grafana would send it.
fn dashboards() -> Result<()> {
    on_site(|site| {
        site.apply(&MINIMAL.replace("spec: {}", "spec: {monitoring: {interval: 1s}}"))?;
        site.ready("minimal")?;
        let maps = site.get(&["configmaps", "--namespace", OPERATOR, "--selector=grafana_dashboard=1"])?;
        for (file, namespace, shown) in DASHBOARDS {
            let mut texts = maps["items"].as_array().into_iter().flatten().map(|map| &map["data"][file]);
            let dashboard =
                texts.find_map(Value::as_str).with_context(|| format!("no ConfigMap brings {file}"))?;
            let dashboard: Value =
                serde_json::from_str(dashboard).with_context(|| format!("{file} is no JSON"))?;
            let panels = dashboard["panels"].as_array().cloned().unwrap_or_default();
            let titles: Vec<&str> = panels.iter().map(|panel| text(&panel["title"])).collect();
            for title in shown {
                ensure!(titles.contains(title), "{file} has no panel {title}, but {titles:?}");
            }
            for panel in &panels {
                let title = text(&panel["title"]);
                for target in panel["targets"].as_array().into_iter().flatten() {
                    let expression = text(&target["expr"])
                        .replace("$__rate_interval", "5m")
                        .replace("$namespace", namespace)
                        .replace("$service", OPERATOR)
                        .replace("$system", "minimal");
                    if shown.contains(&title) {
                        eventually(&format!("{title} shows something"), || {
                            Ok((!query(site, &expression)?.is_empty()).then_some(()))
                        })?;
                    } else {
                        query(site, &expression)?;
                    }
                }
            }
        }
        Ok(())
    })
}
