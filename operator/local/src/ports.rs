//! Whether the ports that servers need are free, and who holds them when they are not.

use crate::os;
use mcp_system_crds::config::ServerKind;
use std::fmt;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// A port that a server needs and cannot have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Busy {
    /// The server.
    pub(crate) server: String,
    /// The port.
    pub(crate) port: u16,
    /// Why it cannot be had.
    pub(crate) reason: Reason,
}

/// Why a port cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// A process listens on it; which one is told where that can be seen.
    Held(Option<os::Holder>),
    /// It is one that only an administrator may bind.
    Forbidden,
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, port, reason } = self;
        match reason {
            Reason::Held(Some(holder)) => {
                let command: String = holder.command.chars().take(120).collect();
                write!(
                    f,
                    "port {port} of {server} is held by process {pid} ({command}); stop it (kill {pid})",
                    pid = holder.pid
                )?;
            }
            Reason::Held(None) => {
                write!(f, "port {port} of {server} is held by a process of another user; stop it")?;
            }
            Reason::Forbidden => {
                write!(f, "port {port} of {server} may be bound by an administrator only")?;
            }
        }
        match server.parse::<ServerKind>() {
            Ok(kind) => write!(f, ", or choose another port with {}=PORT", kind.port_variable()),
            Err(_) => write!(f, ", or give the extra server {server} another port"),
        }
    }
}

/// Those of the ports that cannot be bound now. A port in TIME_WAIT can.
pub(crate) fn busy<'a>(host: IpAddr, wanted: impl Iterator<Item = (&'a str, u16)>) -> Vec<Busy> {
    wanted
        .filter_map(|(server, port)| {
            reason(host, port).map(|reason| Busy { server: server.to_owned(), port, reason })
        })
        .collect()
}

fn reason(host: IpAddr, port: u16) -> Option<Reason> {
    // The standard library sets SO_REUSEADDR, as the servers do.
    match TcpListener::bind(SocketAddr::new(host, port)) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Some(Reason::Forbidden),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Some(Reason::Held(os::listener(port))),
        // Any other error is the server's to meet: it says more than a guess from here.
        Err(_) => None,
        // On macOS a port of one address can be bound beside a listener on all addresses.
        Ok(listener) => {
            drop(listener);
            let local = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
            let is_answered = !cfg!(target_os = "linux")
                && TcpStream::connect_timeout(&local, Duration::from_millis(200)).is_ok();
            is_answered.then(|| Reason::Held(os::listener(port)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// A process that another test is just starting holds for a moment what this one closed.
    fn becomes_free(port: u16) -> bool {
        (0..200).any(|_| {
            std::thread::sleep(Duration::from_millis(5));
            busy(LOCAL, [("memory", port)].into_iter()).is_empty()
        })
    }

    #[test]
    fn a_busy_port_is_named_with_the_process_that_holds_it() {
        for address in ["127.0.0.1:0", "0.0.0.0:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let port = listener.local_addr().unwrap().port();
            let found = busy(LOCAL, [("memory", port)].into_iter());
            assert_eq!(found.len(), 1, "{address}");
            let message = found[0].to_string();
            let pid = std::process::id().to_string();
            assert!(message.contains(&pid) && message.contains("memory"), "{message}");
            drop(listener);
            assert!(becomes_free(port), "{address}");
        }
    }

    #[test]
    fn a_port_in_time_wait_is_free() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (served, _) = listener.accept().unwrap();
        // The side that closes first is the one that waits.
        drop(served);
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        drop(client);
        drop(listener);
        assert!(becomes_free(port));
    }
}
