//! Names to addresses, the forbidden ones left out.
//!
//! The connection is made to just the addresses that were checked here, so a name that answers otherwise
//! the next time gains nothing.

use super::address::{is_private, is_public};
use futures::future::BoxFuture;
use mcp_system_user_tools::hosts::{AllowedHosts, Reach};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// How a name is looked up: by the system, or by a table in a test.
pub(crate) type Lookup =
    Arc<dyn Fn(String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> + Send + Sync>;

/// The system's resolver.
pub(crate) fn system() -> Lookup {
    Arc::new(|name| {
        Box::pin(async move {
            Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
        })
    })
}

/// A resolver that gives allowed addresses only.
pub(super) struct Checked {
    pub(super) hosts: AllowedHosts,
    pub(super) lookup: Lookup,
}

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().trim_end_matches('.').to_lowercase();
        let reach = self.hosts.reach(&name);
        let lookup = self.lookup.clone();
        Box::pin(async move {
            let found = lookup(name.clone()).await?;
            let allowed = allowed(reach, found);
            if allowed.is_empty() {
                return Err(format!("{name} leads to no address that may be reached").into());
            }
            let addresses: Addrs = Box::new(allowed.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

fn allowed(reach: Option<Reach>, found: Vec<IpAddr>) -> Vec<IpAddr> {
    let may = |address: &IpAddr| match reach {
        Some(Reach::Public) => is_public(*address),
        Some(Reach::Private) => is_public(*address) || is_private(*address),
        Some(Reach::Loopback) => address.is_loopback(),
        // Addresses are not looked up.
        Some(Reach::Address) | None => false,
    };
    found.into_iter().filter(may).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_settings_allow_is_left() {
        let found: Vec<IpAddr> =
            ["10.0.0.1", "1.1.1.1", "127.0.0.1", "::1"].map(|address| address.parse().unwrap()).into();
        assert_eq!(allowed(Some(Reach::Public), found.clone()), found[1..2]);
        assert_eq!(allowed(Some(Reach::Private), found.clone()), found[..2]);
        assert_eq!(allowed(Some(Reach::Loopback), found.clone()), found[2..]);
        assert!(allowed(None, found).is_empty());
    }
}
