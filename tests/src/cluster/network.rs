//! The namespaces in which the cluster lives: its own network, and its own view of the mounts.
//!
//! One sleeping process, the holder, owns both. When it and the daemons have ended, the kernel removes the addresses,
//! the bridge, every iptables rule and every mount with them. Nothing of it is ever visible outside, so the address
//! ranges cannot clash with the machine's.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};

use super::{debian, layout, process};

/// The node, the API server and the tests.
pub(crate) const NODE_IP: &str = "10.213.0.2";
/// Pods.
pub(crate) const POD_RANGE: &str = "10.214.0.0/16";
/// Services.
pub(crate) const SERVICE_RANGE: &str = "10.215.0.0/16";
/// The first address of the Service range: the API server as pods see it.
pub(crate) const API_SERVICE_IP: &str = "10.215.0.1";
/// `CoreDNS`, whose address kubelet tells to every pod.
pub(crate) const DNS_IP: &str = "10.215.0.10";

const HOLDER: &str = "holder";

/// System folders in which programs of the cluster write although nothing can tell them not to: the cluster sees
/// folders of the run in their place.
const PRIVATE: &[&str] =
    &["/run/containerd", "/var/lib/cni", "/var/log/containers", "/var/log/pods", "/var/lib/kubelet"];

/// The peer of the veth pair stays inside: it only gives the other end a carrier, and the default route a device, for
/// a Service address must be routable before kube-proxy's rules turn it into a pod's.
const SCRIPT: &str = r#"
set -eu
root=$1 address=$2 gateway=$3
shift 3
for folder in "$@"; do
    mkdir -p "$root/private$folder"
    mount --bind "$root/private$folder" "$folder"
done
ip link set lo up
ip link add name node0 type veth peer name node0-peer
ip link set node0 up
ip link set node0-peer up
ip addr add "$address/24" dev node0
ip route add default via "$gateway" dev node0
echo 1 > /proc/sys/net/ipv4/ip_forward
exec sleep infinity
"#;

/// The process that holds the namespaces, if there is one.
pub(crate) fn holder() -> Option<i32> {
    process::marked().into_iter().find(|found| found.is(HOLDER, "sleep")).map(|found| found.pid)
}

/// Makes the namespaces, unless they exist.
pub(crate) fn create() -> Result<()> {
    if holder().is_some() {
        return Ok(());
    }
    let mut created = Vec::new();
    for folder in PRIVATE {
        create_parents(folder, &mut created)?;
    }
    layout::write(&layout::run("created-folders"), created.join("\n"))?;
    let mut command = Command::new("unshare");
    clean(&mut command);
    command
        .args(["--net", "--mount", "--propagation", "private", "--", "sh", "-c", SCRIPT, "sh"])
        .arg(layout::run_root())
        .args([NODE_IP, "10.213.0.1"])
        .args(PRIVATE);
    process::spawn(HOLDER, command)?;
    process::wait_until("the network namespace", Duration::from_secs(10), &[], || Ok(holder().is_some()))
        .with_context(|| process::tail(&layout::log(HOLDER)))
}

/// Creates a system folder and notes those of its parts that were missing, outermost first.
fn create_parents(folder: &str, created: &mut Vec<String>) -> Result<()> {
    let path = PathBuf::from(folder);
    let missing: Vec<_> = path.ancestors().filter(|ancestor| !ancestor.exists()).collect();
    for ancestor in missing.iter().rev() {
        layout::create_dir(ancestor)?;
        created.push(ancestor.display().to_string());
    }
    Ok(())
}

/// Removes the system folders that `create` made, if nobody has put anything into them.
pub(crate) fn remove_created_folders() {
    let created = std::fs::read_to_string(layout::run("created-folders")).unwrap_or_default();
    for folder in created.lines().rev() {
        // One that is in use by others by now stays.
        let _ = std::fs::remove_dir(folder);
    }
}

fn namespace(kind: &str) -> Result<PathBuf> {
    let holder = holder().context("no cluster is up: start one with `cargo cluster up`")?;
    Ok(format!("/proc/{holder}/ns/{kind}").into())
}

/// The cluster's network.
pub(crate) fn own() -> Result<PathBuf> {
    namespace("net")
}

/// What is not a daemon: it ends with the cluster too.
const CLIENT: &str = "client";

/// An `nsenter` into the network and the mounts of the cluster, for its daemons. The command follows after `--`.
pub(crate) fn inside() -> Result<Command> {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", namespace("net")?.display()));
    command.arg(format!("--mount={}", namespace("mnt")?.display()));
    clean(&mut command);
    command.env(process::MARKER, CLIENT);
    Ok(command)
}

/// An `nsenter` into the network alone, for clients. The command follows after `--`.
pub(crate) fn inside_network() -> Result<Command> {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", namespace("net")?.display())).env(process::MARKER, CLIENT);
    Ok(command)
}

/// The network from which this process entered the cluster's.
static OUTSIDE: OnceLock<File> = OnceLock::new();

/// A command that reaches the package registries, even from a process that has entered the cluster's network.
pub(crate) fn outside(program: &str) -> Command {
    let Some(namespace) = OUTSIDE.get() else { return Command::new(program) };
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd()));
    command.arg("--").arg(program);
    command
}

/// Moves the calling thread into a cluster's network; threads that it starts afterwards are there too.
pub(crate) fn enter(path: &Path) -> Result<()> {
    if OUTSIDE.get().is_none() {
        let outside = File::open("/proc/thread-self/ns/net").context("cannot open this process's network")?;
        // If another thread was quicker, it noted the same.
        let _ = OUTSIDE.set(outside);
    }
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    setns(file, CloneFlags::CLONE_NEWNET)
        .with_context(|| format!("cannot enter the cluster's network, {}", path.display()))
}

/// Daemons get nothing from the caller's environment: no proxy, no kubeconfig, no locale.
fn clean(command: &mut Command) {
    command.env_clear().env("PATH", debian::PATH).env("HOME", layout::run("home"));
}
