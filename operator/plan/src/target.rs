//! Where a plan is to be carried out.

use serde::Serialize;
use std::path::{Path, PathBuf};

/// Where a pod finds what its server reads.
const POD_FOLDER: &str = "/etc/mcp-system";

/// Where a plan is to be carried out, with the facts of that place that a plan depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Target {
    /// A Kubernetes cluster.
    Cluster {
        /// The image that servers run when the system names none: the operator's own.
        image: String,
    },
    /// Processes on one machine.
    Laptop {
        /// The program that runs container images (`docker` or `podman`), where there is one.
        container_runtime: Option<String>,
        /// The folder that holds what servers read.
        folder: PathBuf,
    },
}

impl Target {
    /// The endpoint of a server in this place, without a path.
    pub(crate) fn origin(&self, system: &str, namespace: &str, server: &str, port: u16) -> String {
        match self {
            Self::Cluster { .. } => format!("http://{system}-{server}.{namespace}.svc:{port}"),
            Self::Laptop { .. } => format!("http://127.0.0.1:{port}"),
        }
    }

    /// The folder that holds what servers read, as they see it.
    pub fn folder(&self) -> &Path {
        match self {
            Self::Cluster { .. } => Path::new(POD_FOLDER),
            Self::Laptop { folder, .. } => folder,
        }
    }

    /// The names under which a server's own place reaches it, besides loopback.
    pub(crate) fn hosts(&self, system: &str, namespace: &str, server: &str) -> Vec<String> {
        match self {
            Self::Cluster { .. } => {
                let name = format!("{system}-{server}");
                [
                    "",
                    &format!(".{namespace}"),
                    &format!(".{namespace}.svc"),
                    &format!(".{namespace}.svc.cluster.local"),
                ]
                .map(|suffix| format!("{name}{suffix}"))
                .to_vec()
            }
            Self::Laptop { .. } => Vec::new(),
        }
    }
}
