//! What is installed into a running cluster, piece by piece.

pub(crate) mod dns;
pub(crate) mod prometheus;
pub(crate) mod storage;

use anyhow::{Context, Result};

/// Puts values into a manifest's `${NAME}` places.
fn fill(manifest: &str, values: &[(&str, &str)]) -> String {
    values
        .iter()
        .fold(manifest.to_owned(), |text, (name, value)| text.replace(&format!("${{{name}}}"), value))
}

/// Waits until all replicas of a workload are ready; says what its pods lack if they do not become so.
fn wait_rollout(kubectl: impl Fn(&[&str]) -> Result<String>, namespace: &str, workload: &str) -> Result<()> {
    let rollout = ["rollout", "status", "--namespace", namespace, "--timeout=120s", workload];
    kubectl(&rollout).map(drop).with_context(|| {
        let pods = kubectl(&["get", "pods", "--namespace", namespace, "--output=wide"]);
        let events = kubectl(&["get", "events", "--namespace", namespace]);
        format!("{}\n{}", pods.unwrap_or_default(), events.unwrap_or_default())
    })
}
