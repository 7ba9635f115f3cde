//! One server of a plan, in terms that leave a backend no meaningful choice.

use crate::{Mount, SecretFile};
use k8s_openapi::api::core::v1::{Affinity, Toleration, TopologySpreadConstraint};
use mcp_system_crds::config::ServerKind;
use mcp_system_crds::{Probes, PullPolicy, ReclaimPolicy, Resources, SecretKey, ServiceSettings};
use serde::Serialize;
use std::collections::BTreeMap;

/// One server that runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// Its name in the system.
    pub name: String,
    /// What runs.
    pub run: Run,
    /// How many copies, or the fewest where an autoscaler decides; 0 when the system is suspended.
    pub replicas: u32,
    /// What decides how many copies there are, where that is not the plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Autoscaling>,
    /// How copies are replaced.
    pub strategy: Strategy,
    /// The port that it listens on.
    pub port: u16,
    /// Its MCP endpoint, as others in the same place reach it.
    pub endpoint: String,
    /// Where it tells whether it is ready and alive.
    pub health: Health,
    /// Where one of the project's own servers tells what came of its last MCP request to itself: whoever
    /// wants to know whether it answers needs no key then. The servers of others are sent a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub self_check: Option<String>,
    /// The file that it reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<ConfigFile>,
    /// The files with secrets that it reads. A changed one reaches it without a restart.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretFile>,
    /// The user's own files that it reads, by their paths.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Its environment.
    pub env: Vec<Env>,
    /// What a copy may use.
    pub resources: Resources,
    /// Timings of the probes.
    pub probes: Probes,
    /// Where it keeps data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<Volume>,
    /// Whether what the volume holds has to be moved into the database of its settings before it serves. Nothing is
    /// written to the volume after that.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub moves: bool,
    /// Labels for the pods.
    pub labels: BTreeMap<String, String>,
    /// Annotations for the pods.
    pub annotations: BTreeMap<String, String>,
    /// The Service before it.
    pub service: ServiceSettings,
    /// Where its pods run.
    pub scheduling: Scheduling,
    /// Seconds from SIGTERM until it is ended by force.
    pub termination_seconds: u32,
    /// The servers of the system that call it; empty for the one that clients call.
    pub callers: Vec<String>,
}

impl Workload {
    /// Whether this is one of the project's own servers.
    pub fn kind(&self) -> Option<ServerKind> {
        match self.run {
            Run::Serve { kind, .. } => Some(kind),
            Run::Image { .. } | Run::Process { .. } => None,
        }
    }
}

/// What runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Run {
    /// One of the project's own servers: `mcp-system serve KIND`.
    Serve {
        /// Which.
        kind: ServerKind,
        /// The image that holds the binary; none on a laptop, which runs its own.
        image: Option<Image>,
    },
    /// Somebody else's image.
    Image {
        /// The image.
        image: Image,
        /// Its arguments, in which `$(NAME)` stands for an environment variable.
        args: Vec<String>,
    },
    /// Somebody else's program on the laptop.
    Process {
        /// The program.
        command: String,
        /// Its arguments, in which `$(NAME)` stands for an environment variable.
        args: Vec<String>,
        /// The folder in which it runs.
        working_directory: Option<String>,
    },
}

/// A container image and how it is had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// Its reference.
    pub reference: String,
    /// When it is pulled.
    pub pull_policy: PullPolicy,
    /// Names of Secrets with credentials.
    pub pull_secrets: Vec<String>,
}

/// What decides how many copies there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Autoscaling {
    /// A HorizontalPodAutoscaler that goes with the system.
    Horizontal(HorizontalAutoscaler),
    /// Something that is not the system's, and is held to its bounds.
    External {
        /// The most copies, more than the fewest.
        max_replicas: i32,
    },
}

/// What a HorizontalPodAutoscaler is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HorizontalAutoscaler {
    /// The most copies, more than the fewest.
    pub max_replicas: i32,
    /// The CPU that copies are to use on average, in percent of what is set aside for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<i32>,
    /// The memory, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_percent: Option<i32>,
}

/// How copies are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Strategy {
    /// A new one is ready before an old one goes.
    RollingUpdate,
    /// The old one goes first: two must never hold the same volume, or cannot where they are on two nodes.
    Recreate,
}

/// Where a server tells whether it is ready and alive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Health {
    /// Over HTTP.
    Http {
        /// The path that answers 2xx when it is ready.
        ready: String,
        /// The path that answers 2xx while the process is alive.
        live: String,
    },
    /// Its open port is all there is.
    Port,
}

/// The file that a server reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigFile {
    /// Its text.
    pub text: String,
    /// A hash of those settings that a running server cannot take over: when it changes, copies are replaced.
    pub restart_hash: String,
}

/// One environment variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Env {
    /// Its name.
    pub name: String,
    /// Its value, or where that is kept.
    pub value: EnvValue,
}

/// The value of an environment variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum EnvValue {
    /// The value itself.
    Literal(String),
    /// A key of a Secret.
    Secret {
        /// The Secret's name.
        name: String,
        /// The key.
        key: String,
        /// Whether it may be missing.
        optional: bool,
    },
}

impl EnvValue {
    pub(crate) fn of_secret(key: &SecretKey) -> Self {
        Self::Secret { name: key.name.clone(), key: key.key.clone(), optional: key.optional.unwrap_or(false) }
    }
}

/// Where a server keeps data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// The size that is asked for.
    pub size: String,
    /// The StorageClass, when it is not the cluster's default.
    pub storage_class_name: Option<String>,
    /// What becomes of it when the system is deleted.
    pub reclaim_policy: ReclaimPolicy,
}

/// Where pods run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Scheduling {
    /// Labels that a node must have.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that are tolerated.
    pub tolerations: Vec<Toleration>,
    /// Affinities.
    pub affinity: Option<Affinity>,
    /// How pods are spread.
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// The PriorityClass.
    pub priority_class_name: Option<String>,
}
