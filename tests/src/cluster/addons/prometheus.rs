//! Metrics: the Prometheus Operator, and a Prometheus that takes up every `ServiceMonitor`, `PodMonitor` and rule.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::cluster::process::{self, Daemon};
use crate::cluster::{access, images, parts};

const OPERATOR_IMAGE: &str = "mcp-system.test/prometheus-operator:1";
const RELOADER_IMAGE: &str = "mcp-system.test/prometheus-config-reloader:1";
const PROMETHEUS_IMAGE: &str = "mcp-system.test/prometheus:1";
/// Prometheus 0.N of the Go module is release 3.(N-300) by its tags; the operator derives flags from this.
const PROMETHEUS_VERSION: &str = "v3.12.0";
/// Where Prometheus answers inside the cluster's network.
pub(crate) const ADDRESS: &str = "10.215.0.90";

/// Installs the definitions of `ServiceMonitor` and its kin alone: enough for a chart that contains some.
pub(crate) fn install_definitions() -> Result<()> {
    let folder = parts::manifests("kubernetes")?;
    let kubectl = |arguments: &[&str]| -> Result<()> {
        let mut command = access::client(parts::program("kubectl")?)?;
        command.args(arguments).arg("--filename").arg(&folder);
        process::run(command, None).map(drop)
    };
    kubectl(&["apply", "--server-side", "--force-conflicts", "--field-manager=cluster"])?;
    kubectl(&["wait", "--for=condition=Established", "--timeout=60s"])
}

/// Installs everything and waits until Prometheus answers.
pub(crate) fn install() -> Result<()> {
    install_definitions()?;
    images::import(&images::program_image(OPERATOR_IMAGE, &["prometheus-operator"])?)?;
    images::import(&images::program_image(RELOADER_IMAGE, &["prometheus-config-reloader"])?)?;
    images::import(&images::program_image(PROMETHEUS_IMAGE, &["prometheus"])?)?;
    let values = [
        ("OPERATOR_IMAGE", OPERATOR_IMAGE),
        ("RELOADER_IMAGE", RELOADER_IMAGE),
        ("PROMETHEUS_IMAGE", PROMETHEUS_IMAGE),
        ("PROMETHEUS_VERSION", PROMETHEUS_VERSION),
        ("PROMETHEUS_IP", ADDRESS),
    ];
    access::apply(&super::fill(include_str!("../manifests/prometheus.yaml"), &values))?;
    super::wait_rollout("monitoring", "deployment/prometheus-operator")?;
    let set = "statefulset/prometheus-prometheus";
    process::wait_until(
        "the operator to make Prometheus",
        Duration::from_mins(1),
        &[Daemon::Kubelet],
        || access::admin_kubectl(&["get", "--namespace=monitoring", set]).map(|_| true),
    )
    .context("see `cargo cluster kubectl -- logs -n monitoring deployment/prometheus-operator`")?;
    super::wait_rollout("monitoring", set)
}
