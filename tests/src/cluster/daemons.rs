//! Stops and starts single parts of a running cluster, for tests of what happens then.

use anyhow::Result;

use super::{Cluster, Daemon, control_plane, node, process};

impl Cluster {
    /// Stops one part.
    pub fn stop(&self, daemon: Daemon) -> Result<()> {
        self.ours()?;
        process::stop(daemon)
    }

    /// Starts a part that was stopped, and waits until it is back.
    pub fn start(&self, daemon: Daemon) -> Result<()> {
        self.ours()?;
        match daemon {
            Daemon::Etcd | Daemon::ApiServer => {
                process::start(daemon, &control_plane::arguments(daemon))?;
                control_plane::wait_ready()
            }
            Daemon::ControllerManager | Daemon::Scheduler => {
                process::start(daemon, &control_plane::arguments(daemon))
            }
            Daemon::Containerd => {
                process::start(daemon, &node::arguments(daemon))?;
                node::wait_containerd()
            }
            Daemon::Kubelet => {
                process::start(daemon, &node::arguments(daemon))?;
                node::wait_ready()
            }
            Daemon::KubeProxy => process::start(daemon, &node::arguments(daemon)),
        }
    }

    /// Stops and starts one part.
    pub fn restart(&self, daemon: Daemon) -> Result<()> {
        self.stop(daemon)?;
        self.start(daemon)
    }
}
