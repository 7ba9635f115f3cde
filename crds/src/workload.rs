//! What every server of a system can be told, its own or somebody else's.

use crate::{Mount, rules};
use k8s_openapi::api::core::v1::{Affinity, Toleration, TopologySpreadConstraint};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How a server runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Workload {
    /// How many copies run on a cluster; a laptop runs one. Default 1.
    #[schemars(range(min = 1, max = 100))]
    pub replicas: i32,
    /// Has an autoscaler decide how many copies run on a cluster. Default none: replicas run, whoever scales the
    /// Deployment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Autoscaling>,
    /// What a copy may use. Default limits 1Gi and 800m, requests 48Mi and 20m.
    pub resources: Resources,
    /// Timings of the probes.
    pub probes: Probes,
    /// Environment variables, literal or from a Secret. On a laptop a secret one is taken from the
    /// environment variable of the same name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub env: Vec<EnvVar>,
    /// Folders of files that the server reads. On a laptop nothing is mounted: what lies at that very path is read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 20),
        extend(
            "x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["mountPath"],
            "x-kubernetes-validations" = rules::mounts(),
        )
    )]
    pub mounts: Vec<Mount>,
    /// Labels for the pods, besides those that the operator sets.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 50))]
    pub labels: BTreeMap<String, String>,
    /// Annotations for the pods.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 50))]
    pub annotations: BTreeMap<String, String>,
    /// The Service before the copies.
    pub service: ServiceSettings,
    /// Labels that a node must have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 50))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the pods tolerate.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub tolerations: Vec<Toleration>,
    /// Where the pods should and should not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// How the pods are spread over the cluster.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// The PriorityClass of the pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            replicas: 1,
            autoscaling: None,
            resources: Resources::default(),
            probes: Probes::default(),
            env: Vec::new(),
            mounts: Vec::new(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            service: ServiceSettings::default(),
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            affinity: None,
            topology_spread_constraints: Vec::new(),
            priority_class_name: None,
        }
    }
}

impl Workload {
    /// The fewest copies that are to run on a cluster.
    pub fn fewest(&self) -> i32 {
        self.autoscaling.as_ref().and_then(|autoscaling| autoscaling.min_replicas).unwrap_or(self.replicas)
    }

    /// The most copies that may run on a cluster, never less than the fewest.
    pub fn most(&self) -> i32 {
        let fewest = self.fewest();
        self.autoscaling.as_ref().map_or(fewest, |autoscaling| autoscaling.max_replicas.max(fewest))
    }
}

/// How many copies of a server run on a cluster, for an autoscaler to decide. Where maxReplicas is not above the fewest,
/// there is nothing to decide, and no autoscaler.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Autoscaling {
    /// HorizontalPodAutoscaler: one is made for the server. External: something else scales its Deployment, such as
    /// KEDA, within the bounds given here. Default HorizontalPodAutoscaler.
    #[serde(rename = "type", default)]
    pub type_: AutoscalerType,
    /// The fewest copies. Default what replicas says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub min_replicas: Option<i32>,
    /// The most copies.
    #[schemars(range(min = 1, max = 100))]
    pub max_replicas: i32,
    /// The CPU that copies are to use on average, in percent of resources.requests.cpu, whose default is low. Default 80
    /// where no target for memory is given either.
    #[serde(rename = "targetCPUUtilizationPercentage", default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub target_cpu_utilization_percentage: Option<i32>,
    /// The memory that copies are to use on average, in percent of resources.requests.memory. Default no such target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub target_memory_utilization_percentage: Option<i32>,
}

/// What decides how many copies run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AutoscalerType {
    /// A HorizontalPodAutoscaler that goes with the system.
    #[default]
    HorizontalPodAutoscaler,
    /// Something that is not the system's.
    External,
}

/// Compute resources by name, as in a pod: what is given under `limits` or `requests` replaces that
/// whole default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::resources()))]
pub struct Resources {
    /// The most that a copy may use. Default cpu 800m, memory 1Gi.
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = {"type": "string", "maxLength": 32}))]
    pub limits: BTreeMap<String, String>,
    /// What is set aside for a copy. Default cpu 20m, memory 48Mi.
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = {"type": "string", "maxLength": 32}))]
    pub requests: BTreeMap<String, String>,
}

impl Default for Resources {
    fn default() -> Self {
        let named = |cpu: &str, memory: &str| {
            BTreeMap::from([("cpu".to_owned(), cpu.to_owned()), ("memory".to_owned(), memory.to_owned())])
        };
        Self { limits: named("800m", "1Gi"), requests: named("20m", "48Mi") }
    }
}

/// Timings of the three probes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Probes {
    /// Asks /health until it first succeeds. Default every second, given up after 60.
    pub startup: Probe,
    /// Asks /health for as long as a copy runs; while it fails, no call is sent there.
    /// Default every 5 seconds, failed after 2.
    pub readiness: Probe,
    /// Asks /health/live, which says only that the process is alive. Default every 10 seconds, failed after 3.
    pub liveness: Probe,
}

impl Default for Probes {
    fn default() -> Self {
        let probe = |period_seconds, timeout_seconds, failure_threshold| Probe {
            initial_delay_seconds: 0,
            period_seconds,
            timeout_seconds,
            failure_threshold,
        };
        Self { startup: probe(1, 2, 60), readiness: probe(5, 3, 2), liveness: probe(10, 5, 3) }
    }
}

/// Timings of one probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Probe {
    /// Seconds before the first one. Default 0.
    #[schemars(range(min = 0, max = 3600))]
    pub initial_delay_seconds: i32,
    /// Seconds from one to the next.
    #[schemars(range(min = 1, max = 3600))]
    pub period_seconds: i32,
    /// Seconds that an answer may take.
    #[schemars(range(min = 1, max = 3600))]
    pub timeout_seconds: i32,
    /// Failures in a row that count as failed.
    #[schemars(range(min = 1, max = 3600))]
    pub failure_threshold: i32,
}

impl Default for Probe {
    fn default() -> Self {
        Self { initial_delay_seconds: 0, period_seconds: 10, timeout_seconds: 3, failure_threshold: 3 }
    }
}

/// An environment variable: a literal value, or a key of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::env_var()))]
pub struct EnvVar {
    /// The variable's name.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub name: String,
    /// Its value, as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32768))]
    pub value: Option<String>,
    /// Where its value is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<EnvVarSource>,
}

/// Where the value of an environment variable is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvVarSource {
    /// A key of a Secret in the system's namespace.
    pub secret_key_ref: crate::SecretKey,
}

/// The Service before a server's copies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSettings {
    /// Its type. Default ClusterIP.
    #[serde(rename = "type")]
    pub type_: ServiceType,
    /// Annotations, for a load balancer's settings for example.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 50))]
    pub annotations: BTreeMap<String, String>,
}

/// How a Service is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    /// From inside the cluster.
    #[default]
    ClusterIP,
    /// On a port of every node as well.
    NodePort,
    /// By a load balancer of the cloud as well.
    LoadBalancer,
}

impl ServiceType {
    /// The name that the API uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClusterIP => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
        }
    }
}
