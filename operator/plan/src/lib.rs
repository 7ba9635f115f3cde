//! What a system should be, and what is to be said of it: an `McpSystem` and what was observed go in, a
//! plan, findings and a status come out.
//!
//! Pure: this crate must not know I/O, tokio, a Kubernetes client or a process. Both backends, the
//! cluster's and the laptop's, carry out the same plan and report the same kind of observation.

mod finding;
mod mounts;
mod observed;
mod own;
mod plan;
mod quantity;
mod secret;
mod status;
mod target;
mod validate;
mod workload;

pub use finding::Finding;
pub use mounts::{Mount, MountSource};
pub use observed::{Embedded, Failure, Known, Observed, ObservedServer};
pub use own::self_check;
pub use plan::{LeftOut, Monitoring, Plan, Remote, plan};
pub use quantity::{parse_cpu, parse_memory};
pub use secret::{CallerKeys, FromEnvironment, KEYS_FILE, ORCHESTRATOR_KEY, SecretFile, SecretSource};
pub use status::{invalid_status, merge_conditions, status};
pub use target::Target;
pub use validate::{Validated, ValidatedServer, validate};
pub use workload::{
    Autoscaling, ConfigFile, Env, EnvValue, Health, HorizontalAutoscaler, Image, Run, Scheduling, Strategy,
    Volume, Workload,
};
