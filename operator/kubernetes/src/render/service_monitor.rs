//! The ServiceMonitor by which Prometheus finds a server.
//!
//! Only this project's own servers have one: nobody knows where an extra server shows its metrics.

use crate::render::{Owner, labels, metadata, service};
use mcp_system_plan::{Monitoring, Workload};
use serde_json::{Value, json};

pub(super) fn render(workload: &Workload, monitoring: &Monitoring, owner: &Owner) -> Value {
    let mut metadata = metadata(workload, owner);
    let mut labels = monitoring.labels.clone();
    labels.extend(labels::of(workload, owner));
    metadata.labels = Some(labels);
    json!({
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": metadata,
        "spec": {
            "selector": {"matchLabels": labels::selector(workload, owner)},
            "endpoints": [{"port": service::PORT, "path": "/metrics", "interval": monitoring.interval}],
        },
    })
}
