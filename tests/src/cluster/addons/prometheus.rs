//! Metrics: the Prometheus Operator, and a Prometheus that takes up every `ServiceMonitor`, `PodMonitor` and rule.

use anyhow::{Context, Result};

use crate::cluster::{Cluster, images, parts};

const OPERATOR_IMAGE: &str = "mcp-system.test/prometheus-operator:1";
const RELOADER_IMAGE: &str = "mcp-system.test/prometheus-config-reloader:1";
const PROMETHEUS_IMAGE: &str = "mcp-system.test/prometheus:1";
/// Prometheus 0.N of the Go module is release 3.(N-300) by its tags; the operator derives flags from this.
const PROMETHEUS_VERSION: &str = "v3.12.0";
const APPLY: [&str; 4] = ["apply", "--server-side", "--force-conflicts", "--field-manager=cluster"];

/// Installs everything, waits until Prometheus answers, and tells where: `http://IP:PORT`.
pub(crate) fn install(cluster: &Cluster) -> Result<String> {
    install_definitions(cluster)?;
    for (image, program) in [
        (OPERATOR_IMAGE, "prometheus-operator"),
        (RELOADER_IMAGE, "prometheus-config-reloader"),
        (PROMETHEUS_IMAGE, "prometheus"),
    ] {
        cluster.load_image(&images::program_image(image, &[program])?)?;
    }
    let values = [
        ("OPERATOR_IMAGE", OPERATOR_IMAGE),
        ("RELOADER_IMAGE", RELOADER_IMAGE),
        ("PROMETHEUS_IMAGE", PROMETHEUS_IMAGE),
        ("PROMETHEUS_VERSION", PROMETHEUS_VERSION),
    ];
    let manifest = super::fill(include_str!("../manifests/prometheus.yaml"), &values);
    cluster.kubectl_with_input(&[&APPLY[..], &["--filename=-"]].concat(), &manifest)?;
    let kubectl = |arguments: &[&str]| cluster.kubectl(arguments);
    super::wait_rollout(kubectl, "monitoring", "deployment/prometheus-operator")?;
    let set = "statefulset/prometheus-prometheus";
    kubectl(&["wait", "--for=create", "--namespace=monitoring", "--timeout=60s", set])
        .context("see `kubectl logs -n monitoring deployment/prometheus-operator`")?;
    super::wait_rollout(kubectl, "monitoring", set)?;
    let address = "--output=jsonpath={.spec.clusterIP}";
    let address = kubectl(&["get", "service", "prometheus", "--namespace=monitoring", address])?;
    Ok(format!("http://{address}:9090"))
}

/// Installs the definitions of `ServiceMonitor` and its kin.
fn install_definitions(cluster: &Cluster) -> Result<()> {
    let files = format!("--filename={}", parts::manifests("kubernetes")?.display());
    cluster.kubectl(&[&APPLY[..], &[files.as_str()]].concat())?;
    cluster.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", &files]).map(drop)
}
