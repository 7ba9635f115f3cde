//! A plan into the objects that carry it out, one file a kind.
//!
//! Pure, and ignorant of what exists: the same plan gives the same objects, byte for byte. Nothing here
//! reads a cluster, and nothing here decides what runs.

mod config_map;
mod deployment;
mod horizontal_pod_autoscaler;
mod labels;
mod pod;
mod secret;
mod service;
mod service_account;
mod service_monitor;
mod volume_claim;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use labels::{APPLIED, COMPONENT, INSTANCE, MANAGED_BY, MANAGER, MOVED, SELECTOR};
pub(crate) use pod::MOVER;
pub(crate) use secret::render as caller_keys;

use crate::kind::Kind;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use mcp_system_crds::{GROUP, VERSION};
use mcp_system_plan::{Autoscaling, Plan, Run, Workload};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// The system that objects belong to.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
}

impl Owner {
    fn reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: format!("{GROUP}/{VERSION}"),
            kind: "McpSystem".to_owned(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }

    /// The name that all objects of one server share.
    pub(crate) fn object_name(&self, server: &str) -> String {
        format!("{}-{server}", self.name)
    }
}

/// An object as it should be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Desired {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    /// The server that it serves.
    pub(crate) server: String,
    /// The object, as it is applied.
    pub(crate) body: Value,
    /// A hash of the object, which it carries as an annotation.
    pub(crate) hash: String,
    /// What is left to something else of how many copies a Deployment has: then the object does not say.
    pub(crate) copies: Option<Copies>,
}

/// How many copies a Deployment may have, where something else decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Copies {
    /// The fewest, with which it begins.
    pub(crate) fewest: u32,
    /// The most, where nobody but the operator holds whatever decides to these bounds.
    pub(crate) most: Option<u32>,
}

impl Desired {
    pub(crate) fn new(kind: Kind, server: &str, object: &impl Serialize) -> Self {
        let body =
            serde_json::to_value(object).unwrap_or_else(|error| unreachable!("objects are JSON: {error}"));
        Self::from_value(kind, server, body)
    }

    /// Takes an object whose hash was not put to it yet.
    pub(crate) fn from_value(kind: Kind, server: &str, mut body: Value) -> Self {
        let hash = hash(&body);
        body["metadata"]["annotations"][APPLIED] = json!(hash);
        let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        Self { kind, name, server: server.to_owned(), body, hash, copies: None }
    }

    /// Leaves it to something else how many copies there are. Bounds that only the operator keeps are a part of what the
    /// hash stands for: others are another plan, though the object says nothing of them.
    fn scaled(mut self, copies: Copies) -> Self {
        if let Some(most) = copies.most {
            self.hash = hash(&json!([self.hash, copies.fewest, most]));
            self.body["metadata"]["annotations"][APPLIED] = json!(self.hash);
        }
        self.copies = Some(copies);
        self
    }
}

/// The objects of a plan, in the order in which they are written. `monitors` tells whether this cluster
/// has ServiceMonitors.
pub(crate) fn render(plan: &Plan, owner: &Owner, monitors: bool) -> Vec<Desired> {
    let mut objects = Vec::new();
    for workload in plan.workloads.iter().filter(|workload| runs_here(workload)) {
        let server = &workload.name;
        objects.push(Desired::new(Kind::ServiceAccount, server, &service_account::render(workload, owner)));
        if let Some(config) = &workload.config {
            objects.push(Desired::new(Kind::ConfigMap, server, &config_map::render(workload, config, owner)));
        }
        if let Some(volume) = &workload.volume {
            objects.push(Desired::new(
                Kind::VolumeClaim,
                server,
                &volume_claim::render(workload, volume, owner),
            ));
        }
        objects.push(Desired::new(Kind::Service, server, &service::render(workload, owner)));
        let deployment = Desired::new(Kind::Deployment, server, &deployment::render(workload, owner));
        objects.push(match copies(workload) {
            Some(copies) => deployment.scaled(copies),
            None => deployment,
        });
        if let Some(Autoscaling::Horizontal(autoscaler)) = &workload.autoscaling {
            let autoscaler = horizontal_pod_autoscaler::render(workload, autoscaler, owner);
            objects.push(Desired::new(Kind::Autoscaler, server, &autoscaler));
        }
        if let Some(monitoring) = plan.monitoring.as_ref().filter(|_| monitors && workload.kind().is_some()) {
            let monitor = service_monitor::render(workload, monitoring, owner);
            objects.push(Desired::from_value(Kind::ServiceMonitor, server, monitor));
        }
    }
    objects.sort_by_key(|object| object.kind);
    objects
}

/// How many copies of a server there may be, where something else decides. A HorizontalPodAutoscaler keeps to its bounds by
/// itself.
fn copies(workload: &Workload) -> Option<Copies> {
    let most = match workload.autoscaling.as_ref()? {
        Autoscaling::Horizontal(_) => None,
        Autoscaling::External { max_replicas } => u32::try_from(*max_replicas).ok(),
    };
    Some(Copies { fewest: workload.replicas, most })
}

/// A process is for laptops; a plan for a cluster holds none.
fn runs_here(workload: &Workload) -> bool {
    !matches!(workload.run, Run::Process { .. })
}

/// Metadata of an object that goes with its system.
fn metadata(workload: &Workload, owner: &Owner) -> ObjectMeta {
    ObjectMeta {
        name: Some(owner.object_name(&workload.name)),
        namespace: Some(owner.namespace.clone()),
        labels: Some(labels::of(workload, owner)),
        owner_references: Some(vec![owner.reference()]),
        ..ObjectMeta::default()
    }
}

/// The first 16 hexadecimal digits of SHA-256: enough to tell two renderings of one object apart.
fn hash(body: &Value) -> String {
    Sha256::digest(body.to_string().as_bytes()).iter().take(8).fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
