//! The cluster, from outside: bring it up as far as a test needs it, use it, tear it down.

mod access;
mod addons;
mod audit;
mod certificates;
mod control_plane;
mod daemons;
pub(crate) mod debian;
mod external;
mod images;
mod layout;
mod network;
mod node;
mod owner;
pub(crate) mod parts;
mod process;
mod progress;
mod signals;
mod teardown;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

pub use audit::{AuditEvent, without_the_lead};
pub use images::Image;
pub use process::Daemon;

use external::External;
pub(crate) use network::outside;
use owner::Owner;
use progress::step;

/// How far the cluster is brought up. Each stage includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Stage {
    /// etcd, API server, controller manager: objects, but no pods.
    ControlPlane,
    /// Also scheduler, containerd, kubelet, kube-proxy: pods and Services.
    Node,
    /// Also DNS and volumes.
    All,
}

/// A cluster to work with. Dropped, it is torn down, unless it belongs to a person or to somebody else.
#[derive(Debug)]
pub struct Cluster {
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// Ours, for as long as this value lives.
    Ours { _owner: Owner },
    /// Stays up when this process ends.
    Kept { _owner: Option<Owner> },
    /// Not started by us at all.
    Elsewhere(External),
}

impl Cluster {
    /// The cluster of a test run: that which the environment names, else a fresh one of its own. Call it, and then
    /// [`Cluster::enter_network`], before the process starts any thread.
    ///
    /// Leftovers of a killed run are removed first. SIGINT and SIGTERM tear the cluster down and end the process;
    /// `std::process::exit` drops nothing, so call [`Cluster::teardown`] before it.
    pub fn for_tests(stage: Stage) -> Result<Self> {
        if let Some(external) = External::from_environment() {
            // kubectl and Helm, and what is to run there.
            parts::ensure(parts::FOR_CONTROL_PLANE)?;
            return Ok(Self { place: Place::Elsewhere(external) });
        }
        let owner = Owner::take()?;
        if owner::is_kept() && network::holder().is_some() {
            bail!(
                "a cluster that `cargo cluster up` started is running: end it with `cargo cluster down` first"
            );
        }
        parts_for(stage)?;
        signals::tear_down_on_signal()?;
        teardown::everything()?;
        layout::clear_logs()?;
        let cluster = Self { place: Place::Ours { _owner: owner } };
        // From here on an error drops the cluster, and with it all that was started.
        cluster.reach(stage)?;
        Ok(cluster)
    }

    /// The cluster of a person, which stays up until [`Cluster::down`]. Goes on from what is up already.
    pub fn up(stage: Stage) -> Result<Self> {
        let owner = Owner::take()?;
        parts_for(stage)?;
        signals::tear_down_on_signal()?;
        if !owner::is_kept() || network::holder().is_none() {
            teardown::everything()?;
            layout::clear_logs()?;
        }
        owner::mark_kept()?;
        let cluster = Self { place: Place::Kept { _owner: Some(owner) } };
        cluster.reach(stage)?;
        Ok(cluster)
    }

    /// Ends the cluster of a person, or what a killed run left behind.
    pub fn down() -> Result<()> {
        let _owner = Owner::take()?;
        step("down, nothing left but logs", teardown::everything)
    }

    /// The cluster that is up, whoever started it.
    pub fn running() -> Result<Self> {
        network::holder().context("no cluster is up: start one with `cargo cluster up`")?;
        Ok(Self { place: Place::Kept { _owner: None } })
    }

    /// Builds and installs every part, starting nothing.
    pub fn build_parts() -> Result<()> {
        parts::ensure_all()
    }

    /// Every tool, whether it is built, and where.
    pub fn report_parts() -> Result<Vec<(&'static str, bool, PathBuf)>> {
        parts::report()
    }

    /// Where logs of the cluster's parts and its pods lie, also after its end.
    pub fn logs() -> PathBuf {
        layout::logs()
    }

    /// Brings the cluster up to this stage, if it is not that far yet.
    pub fn reach(&self, stage: Stage) -> Result<()> {
        if matches!(self.place, Place::Elsewhere(_)) {
            return Ok(());
        }
        parts_for(stage)?;
        if Daemon::ControllerManager.pid().is_none() {
            step("network and certificates", || network::create().and_then(|()| control_plane::prepare()))?;
            step("control plane", control_plane::start)?;
        }
        if stage >= Stage::Node && Daemon::Kubelet.pid().is_none() {
            step("node", node::start)?;
        }
        if stage >= Stage::All && !layout::run("addons").exists() {
            step("DNS and volumes", || {
                addons::dns::install()?;
                addons::storage::install()?;
                addons::dns::wait()
            })?;
            layout::write(&layout::run("addons"), "")?;
        }
        Ok(())
    }

    /// Installs the Prometheus Operator and a Prometheus, and gives the latter's address: `http://IP:PORT`.
    pub fn install_prometheus(&self) -> Result<String> {
        self.reach(Stage::All)?;
        step("Prometheus", || addons::prometheus::install(self))
    }

    /// Empties the volumes whose claims are gone, offers them anew, and says how many those were. Another cluster's
    /// provisioner does so itself.
    pub fn reclaim_volumes(&self) -> Result<usize> {
        match &self.place {
            Place::Elsewhere(_) => Ok(0),
            _ => addons::storage::reclaim(),
        }
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        match &self.place {
            Place::Elsewhere(external) => external.kubeconfig.clone(),
            _ => layout::kubeconfig(control_plane::ADMIN),
        }
    }

    /// A kubeconfig for another user (and group), known by a client certificate. What the user may do is up to RBAC.
    pub fn kubeconfig_for(&self, user: &str, group: Option<&str>) -> Result<PathBuf> {
        self.ours()?;
        let name = format!("user-{}", user.replace(['/', ':'], "_"));
        certificates::Authority::open()?.kubeconfig(&name, user, group)
    }

    /// The API server's audit log: a line of JSON for each request, written before the request is answered.
    pub fn audit_log(&self) -> Result<PathBuf> {
        match &self.place {
            Place::Elsewhere(external) => external.audit_log(),
            _ => Ok(layout::audit_log()),
        }
    }

    /// What the audit log holds, from this byte on, and the byte to go on from. `user` is the user's whole name.
    pub fn audit_events(&self, from: u64, user: &str) -> Result<(Vec<AuditEvent>, u64)> {
        audit::read(&self.audit_log()?, from, user)
    }

    /// Gives the images of an archive (OCI or docker) to the node, under the names that it states.
    pub fn load_image(&self, archive: &Path) -> Result<()> {
        match &self.place {
            Place::Elsewhere(external) => external.load(archive),
            _ => images::import(archive),
        }
    }

    /// Moves the calling thread, and those that it starts later, into the cluster's network, where pods, Services and
    /// the API server have their addresses.
    pub fn enter_network(&self) -> Result<()> {
        match &self.place {
            Place::Elsewhere(external) => {
                external.enter_network()?;
                external::reach(self.dns()?)
            }
            _ => network::enter(&network::own()?),
        }
    }

    /// The address of its DNS, as pods know it.
    pub fn dns(&self) -> Result<IpAddr> {
        let query =
            ["get", "service", "kube-dns", "--namespace=kube-system", "--output=jsonpath={.spec.clusterIP}"];
        let address = self.kubectl(&query).context("no Service kube-dns in kube-system tells its DNS")?;
        address.parse::<IpAddr>().with_context(|| format!("the DNS has no address, but {address:?}"))
    }

    /// The address of its network under which pods reach what a test serves there.
    pub fn address(&self) -> Result<String> {
        if !matches!(self.place, Place::Elsewhere(_)) {
            return Ok(network::NODE_IP.to_owned());
        }
        let internal = "{.items[0].status.addresses[?(@.type==\"InternalIP\")].address}";
        let addresses = self.kubectl(&["get", "nodes", &format!("--output=jsonpath={internal}")])?;
        let first = addresses.split_whitespace().next().context("no node tells its address")?;
        let node = first.parse::<IpAddr>().with_context(|| format!("a node's address is {first:?}"))?;
        external::address_for(node)
    }

    /// What names this cluster to tests that another process runs, as commands of a shell.
    pub fn environment(&self) -> Result<String> {
        self.ours()?;
        let program = std::env::current_exe().context("cannot tell where this program lies")?;
        Ok(external::exports(&self.kubeconfig(), &network::own()?, &layout::audit_log(), &program))
    }

    /// Ends the cluster now, and says what went wrong with that.
    pub fn teardown(self) -> Result<()> {
        match self.place {
            Place::Ours { .. } => teardown::everything(),
            Place::Kept { .. } | Place::Elsewhere(_) => Ok(()),
        }
    }

    fn ours(&self) -> Result<()> {
        if matches!(self.place, Place::Elsewhere(_)) {
            bail!(
                "the cluster of MCP_SYSTEM_TEST_KUBECONFIG is not ours: this needs one that the tests start"
            );
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if matches!(self.place, Place::Ours { .. })
            && let Err(error) = teardown::everything()
        {
            eprintln!("cluster: not torn down: {error:#}; `cargo cluster down` tries again");
        }
    }
}

/// Builds what a stage needs, before its network, in which there is no way out, is entered.
fn parts_for(stage: Stage) -> Result<()> {
    debian::ensure(debian::FOR_CLUSTER)?;
    parts::ensure(parts::FOR_CONTROL_PLANE)?;
    if stage >= Stage::Node {
        parts::ensure(parts::FOR_NODE)?;
    }
    Ok(())
}
