//! What the operator can be told.

use crate::render::{Owner, render};
use mcp_system_plan::Plan;
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// What the operator can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The image of servers whose system names none: the operator's own.
    pub image: String,
    /// The namespaces in which systems are looked after; empty for all.
    pub namespaces: Vec<String>,
    /// Whether operators elect a leader. Without it only one may run.
    pub leader_election: bool,
    /// The namespace of the lease; that of the pod, or of the kubeconfig, where none is told.
    pub lease_namespace: Option<String>,
    /// The name of the lease.
    pub lease_name: String,
    /// How long a leader that fell silent is waited for.
    pub lease_duration: Duration,
    /// How often the leader renews its lease.
    pub lease_renew: Duration,
    /// The name of this process among operators: the pod's name. A random part is added to it.
    pub identity: String,
    /// Where health and metrics are served.
    pub listen: SocketAddr,
    /// How often each server is asked whether it answers.
    pub probe_interval: Duration,
    /// How many systems are looked at at a time.
    pub workers: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            image: "mcp-system".to_owned(),
            namespaces: Vec::new(),
            leader_election: true,
            lease_namespace: None,
            lease_name: "mcp-system-operator".to_owned(),
            lease_duration: Duration::from_secs(15),
            lease_renew: Duration::from_secs(5),
            identity: "operator".to_owned(),
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8080),
            probe_interval: Duration::from_mins(1),
            workers: 4,
        }
    }
}

impl Options {
    /// What of it cannot work.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            !self.image.is_empty(),
            "the operator has to know its own image: set --image or MCP_SYSTEM_IMAGE"
        );
        anyhow::ensure!(
            self.lease_renew * 2 <= self.lease_duration && self.lease_duration >= Duration::from_secs(2),
            "the lease has to last two seconds at least, and twice the time after which it is renewed"
        );
        anyhow::ensure!(!self.probe_interval.is_zero(), "the probe interval cannot be 0");
        Ok(())
    }
}

/// The objects of a plan as YAML, as the operator would apply them to a system that is not there yet: for
/// people, and for the snapshot that shows both backends side by side.
pub fn render_yaml(plan: &Plan, monitors: bool) -> Vec<Value> {
    let owner = Owner {
        namespace: plan.namespace.clone(),
        name: plan.system.clone(),
        uid: "00000000-0000-0000-0000-000000000000".to_owned(),
    };
    render(plan, &owner, monitors).into_iter().map(|object| object.body).collect()
}
