//! A cluster that somebody else keeps, named by the environment. Its nodes are this machine or containers on it, since
//! tests look at processes and control groups, and reach pods and Services at their addresses. `CONTRIBUTING.md` says
//! what else it has to bring.

use std::ffi::OsStr;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{network, process};

/// The kubeconfig of somebody who may do everything there. `KUBECONFIG` is never read: it may be production.
const KUBECONFIG: &str = "MCP_SYSTEM_TEST_KUBECONFIG";
/// A command that gives an image archive, its last argument, to every node.
const LOAD_IMAGE: &str = "MCP_SYSTEM_TEST_LOAD_IMAGE";
/// The network of a node: `/proc/PID/ns/net`. Not set: that of this machine.
const NETWORK: &str = "MCP_SYSTEM_TEST_NETWORK";
/// The file into which its API server writes what it was asked.
const AUDIT_LOG: &str = "MCP_SYSTEM_TEST_AUDIT_LOG";

/// What the environment says of it.
#[derive(Debug, PartialEq)]
pub(crate) struct External {
    pub(crate) kubeconfig: PathBuf,
    load_image: Option<String>,
    network: Option<PathBuf>,
    audit_log: Option<PathBuf>,
}

impl External {
    /// The cluster that the environment names, if it names one.
    pub(crate) fn from_environment() -> Option<Self> {
        Self::named_by(|name| std::env::var(name).ok())
    }

    fn named_by(lookup: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let set = |name: &str| lookup(name).filter(|value| !value.is_empty());
        Some(Self {
            kubeconfig: set(KUBECONFIG)?.into(),
            load_image: set(LOAD_IMAGE),
            network: set(NETWORK).map(PathBuf::from),
            audit_log: set(AUDIT_LOG).map(PathBuf::from),
        })
    }

    pub(crate) fn client(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("KUBECONFIG", &self.kubeconfig);
        command
    }

    pub(crate) fn load(&self, archive: &Path) -> Result<()> {
        let line = self.load_image.as_deref().with_context(|| {
            format!(
                "{LOAD_IMAGE} is not set: name a command that gives an image archive, its last argument, to \
                 the cluster of {KUBECONFIG}"
            )
        })?;
        let mut words = line.split_whitespace();
        // In this machine's network, where what it speaks to may be.
        let mut command =
            network::outside(words.next().with_context(|| format!("{LOAD_IMAGE} names no command"))?);
        command.args(words).arg(archive);
        process::run(command, None).map(drop)
    }

    pub(crate) fn audit_log(&self) -> Result<PathBuf> {
        self.audit_log.clone().with_context(|| {
            format!(
                "{AUDIT_LOG} is not set: name the file into which the API server of {KUBECONFIG} writes what \
                 it was asked"
            )
        })
    }

    /// Moves the calling thread into the network that is named.
    pub(crate) fn enter_network(&self) -> Result<()> {
        self.network.as_deref().map_or(Ok(()), network::enter)
    }
}

/// Says what to do where Services, the DNS among them, do not answer.
pub(crate) fn reach(dns: IpAddr) -> Result<()> {
    let answer = TcpStream::connect_timeout(&SocketAddr::new(dns, 53), Duration::from_secs(10));
    answer.map(drop).with_context(|| {
        format!(
            "the cluster of {KUBECONFIG} does not answer at the address of its DNS, {dns}: name the network \
             of a node on this machine in {NETWORK} (/proc/PID/ns/net)"
        )
    })
}

/// The address that this process has for a node: its own, where that is its node.
pub(crate) fn address_for(node: IpAddr) -> Result<String> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("no socket")?;
    // Sends nothing: the kernel only chooses the way.
    socket.connect((node, 9)).with_context(|| format!("there is no way to the node {node}"))?;
    Ok(socket.local_addr().context("the socket has no address")?.ip().to_string())
}

/// Commands of a shell that name a cluster to the tests.
pub(crate) fn exports(kubeconfig: &Path, network: &Path, audit_log: &Path, program: &Path) -> String {
    let load = format!("{} load", program.display());
    let values = [
        (KUBECONFIG, kubeconfig.display().to_string()),
        (NETWORK, network.display().to_string()),
        (AUDIT_LOG, audit_log.display().to_string()),
        (LOAD_IMAGE, load),
    ];
    values.iter().fold(String::new(), |mut text, (name, value)| {
        let _ = writeln!(text, "export {name}='{value}'");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_cluster_tells_of_itself_names_it_to_the_tests_of_another_process() {
        let told = exports("/k".as_ref(), "/proc/1/ns/net".as_ref(), "/a.log".as_ref(), "/c".as_ref());
        let lookup = |name: &str| {
            let line = told.lines().find_map(|line| line.strip_prefix(&format!("export {name}=")))?;
            Some(line.trim_matches('\'').to_owned())
        };
        let expected = External {
            kubeconfig: "/k".into(),
            load_image: Some("/c load".to_owned()),
            network: Some("/proc/1/ns/net".into()),
            audit_log: Some("/a.log".into()),
        };
        assert_eq!(External::named_by(lookup), Some(expected));
        assert_eq!(External::named_by(|name| (name == "KUBECONFIG").then(|| "/production".to_owned())), None);
        assert_eq!(External::named_by(|name| (name == KUBECONFIG).then(String::new)), None);
    }

    #[test]
    fn what_is_not_named_is_told_by_its_name() {
        let bare = External::named_by(|name| (name == KUBECONFIG).then(|| "/k".to_owned())).expect("named");
        let error = bare.load(Path::new("/image.tar")).expect_err("no command");
        assert!(error.to_string().contains(LOAD_IMAGE), "{error}");
        let error = bare.audit_log().expect_err("no file");
        assert!(error.to_string().contains(AUDIT_LOG), "{error}");
    }

    #[test]
    fn an_address_of_this_machine_is_its_own_way_to_itself() {
        assert_eq!(address_for(Ipv4Addr::LOCALHOST.into()).expect("an address"), "127.0.0.1");
    }
}
