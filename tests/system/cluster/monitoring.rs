//! A real Prometheus, configured by the Prometheus Operator from our ServiceMonitors.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::site::{OPERATOR, Site, eventually, on_any_site, on_site, system};
use super::system::MINIMAL;
use crate::group::{Scenario, same};

/// What begins without Prometheus, and so comes before all others.
pub(super) fn first_scenarios() -> Vec<Scenario> {
    vec![Scenario::new("monitoring::servers_get_monitors_once_the_cluster_knows_them", later)]
}

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("monitoring::prometheus_answers_for_every_server", answers_for_every_server),
        Scenario::new("monitoring::prometheus_answers_for_the_operator", answers_for_the_operator),
        Scenario::new("monitoring::off_means_off", off),
    ]
}

/// The ServiceMonitors of a system.
fn monitors(site: &Site, system: &str) -> Result<usize> {
    let selector = format!("--selector=app.kubernetes.io/instance={system}");
    let list = site.get(&["servicemonitors", &selector])?;
    Ok(list["items"].as_array().map_or(0, Vec::len))
}

/// The operator's pods, and how often each began anew.
fn operators(site: &Site) -> Result<Vec<String>> {
    let selector = "--selector=app.kubernetes.io/component=operator";
    let pods = site.get(&["pods", "--namespace", OPERATOR, selector])?;
    let told = |pod: &Value| {
        let restarts = &pod["status"]["containerStatuses"][0]["restartCount"];
        format!("{} began anew {restarts} times", pod["metadata"]["uid"])
    };
    let mut pods: Vec<String> = pods["items"].as_array().into_iter().flatten().map(told).collect();
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

fn query(site: &Site, expression: &str) -> Result<Vec<Value>> {
    let output = Command::new("curl")
        .args(["--silent", "--fail", "--get", "--data-urlencode", &format!("query={expression}")])
        .arg(format!("{}/api/v1/query", site.prometheus()?))
        .output()
        .context("curl is missing: install it")?;
    ensure!(output.status.success(), "Prometheus does not answer: {output:?}");
    let answer: Value = serde_json::from_slice(&output.stdout).context("Prometheus gave no JSON")?;
    same("the query", &answer["status"], "success")?;
    Ok(answer["data"]["result"].as_array().cloned().unwrap_or_default())
}

/// Each of the names that dashboards rely on, for each server.
fn answers_for_every_server() -> Result<()> {
    on_site(|site| {
        site.apply(&MINIMAL.replace("spec: {}", "spec: {monitoring: {interval: 1s}}"))?;
        site.ready("minimal")?;
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
            "mcp_operator_reconciles_total",
            "mcp_operator_reconcile_duration_seconds_count",
            "mcp_operator_writes_total",
        ] {
            eventually(&format!("Prometheus knows {metric}"), || {
                Ok((!query(site, metric)?.is_empty()).then_some(()))
            })?;
        }
        let leaders = eventually("one operator leads", || {
            let leaders = query(site, "sum(mcp_operator_leader)")?;
            Ok(leaders.first().map(|sample| sample["value"][1].clone()))
        })?;
        same("leaders", &leaders, "1")
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
