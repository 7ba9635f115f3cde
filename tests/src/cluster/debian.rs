//! What is taken from the system instead of being built.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A package and a program of it, by whose presence we tell that it is installed.
#[derive(Debug)]
pub(crate) struct Package {
    name: &'static str,
    program: &'static str,
}

/// What the cluster needs.
pub(crate) const FOR_CLUSTER: &[Package] = &[
    Package { name: "runc", program: "runc" },
    Package { name: "containernetworking-plugins", program: "/usr/lib/cni/bridge" },
    Package { name: "iptables", program: "iptables" },
    Package { name: "conntrack", program: "conntrack" },
    Package { name: "ipset", program: "ipset" },
    Package { name: "socat", program: "socat" },
    Package { name: "ethtool", program: "ethtool" },
    Package { name: "iproute2", program: "ip" },
    Package { name: "util-linux", program: "nsenter" },
    Package { name: "buildah", program: "buildah" },
];

/// What the databases need; strace counts what ours syncs. Redis is one program under several names, and the package that
/// calls it redis-server would start one as well. That of PgBouncer does, where a machine starts services at all: before no
/// database, on port 6432 of loopback.
pub(crate) const FOR_DATABASES: &[Package] = &[
    Package { name: "redis-tools", program: "redis-check-rdb" },
    Package { name: "pgbouncer", program: "pgbouncer" },
    Package { name: "iproute2", program: "ip" },
    Package { name: "util-linux", program: "unshare" },
    Package { name: "strace", program: "strace" },
];

/// The search path of everything that the cluster runs: system administration programs included, which an ordinary
/// user's path may lack.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where the CNI plugins lie.
pub(crate) const CNI_PLUGINS: &str = "/usr/lib/cni";

/// A program's whole path, if it is there.
pub(crate) fn find(program: &str) -> Option<std::path::PathBuf> {
    if program.starts_with('/') {
        return Path::new(program).exists().then(|| program.into());
    }
    PATH.split(':').map(|folder| Path::new(folder).join(program)).find(|path| path.exists())
}

/// Installs what is missing.
pub(crate) fn ensure(packages: &[Package]) -> Result<()> {
    let missing: Vec<&str> = packages
        .iter()
        .filter(|package| find(package.program).is_none())
        .map(|package| package.name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if !nix::unistd::geteuid().is_root() || find("apt-get").is_none() {
        bail!(
            "the tests need {names}: install them (these are the Debian package names), then run this again"
        );
    }
    super::progress::step(&format!("installing {names}"), || {
        // The package lists of a fresh machine are empty or old, so try once more after an update.
        if install(&missing).is_ok() {
            return Ok(());
        }
        apt_get(&["update", "-q"])?;
        install(&missing)
    })
}

fn install(packages: &[&str]) -> Result<()> {
    let mut arguments = vec!["install", "-q", "-y", "--no-install-recommends"];
    arguments.extend(packages);
    apt_get(&arguments)
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let output = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .output()
        .context("cannot run apt-get")?;
    if !output.status.success() {
        bail!("apt-get {} failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
