//! The `McpSystem` API (`mcpsystem.io/v1alpha1`): Rust types, defaults, rules, condition names, and the
//! CRD YAML that is generated from them (`crds/mcpsystems.yaml`).
//!
//! This crate must not know the plan, the backends or any client: it turns text into a checked value
//! and says what is wrong with it, the same way the API server does.

mod callers;
mod definition;
mod extra;
mod file;
mod mounts;
mod rules;
mod schema;
mod servers;
mod status;
mod storage;
mod system;
mod workload;

pub use callers::{Callers, SecretReference};
pub use definition::{crd, crd_yaml};
pub use extra::{ExtraServer, ProcessCommand};
pub use file::{FileError, Problem, read, read_one};
pub use mcp_system_config as config;
pub use mounts::{Mount, MountedClaim, MountedConfigMap, MountedKey};
pub use servers::{MemoryServer, OrchestratorServer, Servers, ToolsServer, WeaviateDirectServer};
pub use status::{ConditionType, McpSystemStatus, Reason, ServerStatus};
pub use storage::{
    EmbeddedStorage, PostgresStorage, ReclaimPolicy, SecretKey, Storage, StorageType, WeaviateIndex,
};
pub use system::{Image, McpSystem, McpSystemSpec, Monitoring, PullPolicy};
pub use workload::{
    AutoscalerType, Autoscaling, EnvVar, EnvVarSource, Probe, Probes, Resources, ServiceSettings,
    ServiceType, Workload,
};

/// The API group.
pub const GROUP: &str = "mcpsystem.io";
/// The API version.
pub const VERSION: &str = "v1alpha1";
