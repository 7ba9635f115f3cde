//! Clients of the cluster: kubectl, Helm, and any other program in its network.

use std::ffi::OsStr;
use std::process::Command;

use anyhow::Result;

use super::{Cluster, Place, control_plane, layout, network, parts, process};

/// A command in the cluster's network that finds this cluster and no other.
pub(crate) fn client(program: impl AsRef<OsStr>) -> Result<Command> {
    let mut command = network::inside_network()?;
    command.arg("--").arg(program).env("KUBECONFIG", layout::kubeconfig(control_plane::ADMIN));
    Ok(command)
}

/// Runs kubectl and gives what it printed.
pub(crate) fn admin_kubectl(arguments: &[&str]) -> Result<String> {
    let mut command = client(parts::program("kubectl")?)?;
    command.args(arguments);
    process::run(command, None)
}

/// Applies a manifest.
pub(crate) fn apply(manifest: &str) -> Result<()> {
    let mut command = client(parts::program("kubectl")?)?;
    command.args(["apply", "--server-side", "--force-conflicts", "--field-manager=cluster", "--filename=-"]);
    process::run(command, Some(manifest)).map(drop)
}

impl Cluster {
    /// A client program in the cluster's network, with the administrator's kubeconfig.
    pub fn client(&self, program: impl AsRef<OsStr>) -> Result<Command> {
        match &self.place {
            Place::Elsewhere(external) => Ok(external.client(program)),
            _ => client(program),
        }
    }

    /// kubectl, to be given arguments.
    pub fn kubectl_command(&self) -> Result<Command> {
        self.client(parts::program("kubectl")?)
    }

    /// Helm, to be given arguments.
    pub fn helm_command(&self) -> Result<Command> {
        self.client(parts::program("helm")?)
    }

    /// Runs kubectl and gives what it printed; what it complained about is the error.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.kubectl_command()?;
        command.args(arguments);
        process::run(command, None)
    }

    /// Runs kubectl with this as its standard input (`apply --filename=-`).
    pub fn kubectl_with_input(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut command = self.kubectl_command()?;
        command.args(arguments);
        process::run(command, Some(input))
    }

    /// Runs Helm and gives what it printed.
    pub fn helm(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.helm_command()?;
        command.args(arguments);
        process::run(command, None)
    }
}
