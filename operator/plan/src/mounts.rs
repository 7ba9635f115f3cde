//! Files of a user's own that servers read: mounted on a cluster, read where they lie on a laptop.

use crate::{Target, Workload};
use mcp_system_crds::Workload as WorkloadSpec;
use serde::Serialize;
use std::fmt;

/// A folder of such files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// Where the server finds it.
    pub path: String,
    /// What lies in it.
    pub source: MountSource,
}

/// What lies in a mounted folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum MountSource {
    /// A ConfigMap.
    ConfigMap {
        /// Its name.
        name: String,
        /// The keys that become files, each with the file's path; all of them when there are none here.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        items: Vec<(String, String)>,
    },
    /// A Secret.
    Secret {
        /// Its name.
        name: String,
    },
    /// A volume claim.
    Claim {
        /// Its name.
        name: String,
        /// Whether the server may only read it.
        read_only: bool,
    },
}

impl fmt::Display for MountSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConfigMap { name, .. } => write!(f, "ConfigMap {name}"),
            Self::Secret { name } => write!(f, "Secret {name}"),
            Self::Claim { name, .. } => write!(f, "volume claim {name}"),
        }
    }
}

/// The mounts of a server by their paths, so that their order in the file makes no difference.
pub(crate) fn mounts(spec: &WorkloadSpec) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = spec
        .mounts
        .iter()
        .filter_map(|mount| {
            let config_map = mount.config_map.as_ref().map(|it| MountSource::ConfigMap {
                name: it.name.clone(),
                items: it.items.iter().map(|item| (item.key.clone(), item.path.clone())).collect(),
            });
            let secret = mount.secret.as_ref().map(|it| MountSource::Secret { name: it.name.clone() });
            let claim = mount
                .persistent_volume_claim
                .as_ref()
                .map(|it| MountSource::Claim { name: it.claim_name.clone(), read_only: it.read_only });
            // The API's rules let exactly one of them be there.
            let source = config_map.or(secret).or(claim)?;
            Some(Mount { path: mount.mount_path.clone(), source })
        })
        .collect();
    mounts.sort_by(|a, b| a.path.cmp(&b.path));
    mounts
}

/// Whether an older copy has to let go of a claim before a new one can start: most volumes are on one node at a time.
pub(crate) fn need_handover(mounts: &[Mount], most: i32) -> bool {
    most <= 1 && mounts.iter().any(|mount| matches!(mount.source, MountSource::Claim { .. }))
}

/// What is read instead of a mount, where nothing is mounted.
pub(crate) fn not_mounted(target: &Target, workloads: &[Workload]) -> Vec<String> {
    let Target::Laptop { .. } = target else { return Vec::new() };
    let told = |server: &Workload, mount: &Mount| {
        format!(
            "{}: {path} is read from this machine's own disk; {} is mounted there on a cluster only",
            server.name,
            mount.source,
            path = mount.path
        )
    };
    let of = |server: &Workload| server.mounts.iter().map(|mount| told(server, mount)).collect::<Vec<_>>();
    workloads.iter().flat_map(of).collect()
}
