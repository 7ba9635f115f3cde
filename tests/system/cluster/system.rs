//! A whole system: the smallest file becomes ready pods, and its status says so.

use anyhow::{Result, ensure};
use serde_json::Value;

use super::site::{Site, eventually, on_site, server, text};
use crate::group::{Scenario, same};

/// The smallest file that there is, the same that laptop mode runs.
pub(super) const MINIMAL: &str = include_str!("../../../examples/minimal.yaml");

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("system::the_smallest_file_becomes_ready_pods", smallest),
        Scenario::new("system::pods_have_no_more_rights_than_they_need", pods_are_restricted),
        Scenario::new("system::a_file_in_a_restricted_namespace_runs", restricted_namespace),
    ]
}

fn smallest() -> Result<()> {
    on_site(|site| {
        site.apply(MINIMAL)?;
        let object = site.ready("minimal")?;
        let status = &object["status"];
        same("the generation spoken of", &status["observedGeneration"], &object["metadata"]["generation"])?;
        same("servers ready", &status["readyServers"], "3/3")?;
        same("the URL", &status["url"], "http://minimal-orchestrator.default.svc:8002/mcp")?;
        for (type_, expected) in
            [("Ready", "True"), ("Reconciling", "False"), ("Stalled", "False"), ("Degraded", "False")]
        {
            same(type_, &super::site::condition(&object, type_)["status"], expected)?;
        }
        for (name, tools) in [("memory", 14), ("tools", 9)] {
            let server = server(&object, name);
            same("answered", &server["answered"], &true)?;
            same("tools", &server["tools"], &tools)?;
            same("version", &server["version"], env!("CARGO_PKG_VERSION"))?;
        }
        eventually("the orchestrator's tools are all told", || {
            let object = site.get(&["mcps", "minimal"])?;
            Ok((server(&object, "orchestrator")["tools"] == 23).then_some(()))
        })?;
        let listed = site.kubectl(&["get", "mcps", "minimal"])?;
        ensure!(listed.contains("3/3") && listed.contains("AllServersReady"), "kubectl get shows {listed}");

        eventually("the operator has seen that there are ServiceMonitors", || {
            let owned = site.owned("minimal")?;
            let monitors = owned.iter().filter(|object| object.starts_with("ServiceMonitor/"));
            Ok((monitors.count() == 3).then_some(()))
        })?;
        let mut owned = site.owned("minimal")?;
        owned.retain(|object| !object.starts_with("Pod/") && !object.starts_with("ReplicaSet/"));
        owned.sort();
        let kinds = ["ConfigMap", "Deployment", "Service", "ServiceAccount", "ServiceMonitor"];
        let mut expected: Vec<String> = kinds
            .iter()
            .flat_map(|kind| ["memory", "orchestrator", "tools"].map(|name| format!("{kind}/minimal-{name}")))
            .chain(["Secret/minimal-callers".to_owned()])
            .collect();
        expected.sort();
        same("the objects", &owned, &expected)
    })
}

fn pods(site: &Site, system: &str) -> Result<Vec<Value>> {
    let pods = site.get(&["pods", "--selector", &format!("app.kubernetes.io/instance={system}")])?;
    Ok(pods["items"].as_array().cloned().unwrap_or_default())
}

fn pods_are_restricted() -> Result<()> {
    on_site(|site| {
        let pods = pods(site, "minimal")?;
        same("pods", &pods.len(), &3)?;
        for pod in pods {
            let spec = &pod["spec"];
            same("token", &spec["automountServiceAccountToken"], &false)?;
            same("service links", &spec["enableServiceLinks"], &false)?;
            let container = &spec["containers"][0];
            same("root file system", &container["securityContext"]["readOnlyRootFilesystem"], &true)?;
            same("the readiness path", &container["readinessProbe"]["httpGet"]["path"], "/health")?;
            same("the start path", &container["startupProbe"]["httpGet"]["path"], "/health")?;
            same("the liveness path", &container["livenessProbe"]["httpGet"]["path"], "/health/live")?;
            let mounts = container["volumeMounts"].as_array().cloned().unwrap_or_default();
            ensure!(
                mounts.iter().all(|mount| !text(&mount["mountPath"]).contains("serviceaccount")),
                "a token is mounted: {mounts:?}"
            );
        }
        Ok(())
    })
}

fn restricted_namespace() -> Result<()> {
    on_site(|site| {
        site.apply(
            "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: strict\n  labels: {pod-security.kubernetes.io/enforce: restricted}\n",
        )?;
        let manifest = MINIMAL.replace("name: minimal", "name: minimal\n  namespace: strict");
        site.apply(&manifest)?;
        site.kubectl(&[
            "wait",
            "--for=condition=Ready",
            "mcps/minimal",
            "--namespace=strict",
            "--timeout=120s",
        ])?;
        site.kubectl(&["delete", "namespace", "strict", "--wait"])?;
        site.cluster.reclaim_volumes().map(drop)
    })
}
