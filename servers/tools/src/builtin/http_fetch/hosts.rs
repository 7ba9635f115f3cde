//! Which hosts may be fetched from.

use anyhow::{Context, ensure};
use reqwest::Url;
use std::net::{IpAddr, Ipv6Addr};

/// The hosts of the settings, normalised as URLs are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AllowedHosts {
    exact: Vec<String>,
    /// `.example.com` for `*.example.com`.
    below: Vec<String>,
    addresses: Vec<IpAddr>,
}

/// To which addresses a host that is allowed may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Those of the public internet.
    Public,
    /// This machine itself: the settings name `localhost`.
    Loopback,
    /// This very address: the settings name it.
    Address,
}

impl AllowedHosts {
    /// Reads the settings' entries.
    pub(super) fn new(entries: &[String]) -> anyhow::Result<Self> {
        let mut hosts = Self::default();
        for entry in entries {
            let (wildcard, name) = match entry.trim().strip_prefix("*.") {
                Some(name) => (true, name),
                None => (false, entry.trim()),
            };
            let host = host_in(name).with_context(|| {
                format!("httpFetch.allowedHosts: {entry:?} is no host; write example.com or *.example.com")
            })?;
            match (wildcard, host.parse()) {
                (false, Ok(address)) => hosts.addresses.push(address),
                (false, Err(_)) => hosts.exact.push(host),
                (true, address) => {
                    ensure!(
                        address.is_err(),
                        "httpFetch.allowedHosts: {entry:?}: an address has no names below it"
                    );
                    hosts.below.push(format!(".{host}"));
                }
            }
        }
        Ok(hosts)
    }

    /// Where a host may lead; `None` when it is not allowed.
    pub(super) fn reach(&self, host: &str) -> Option<Reach> {
        if let Ok(address) = host.parse() {
            return self.addresses.contains(&address).then_some(Reach::Address);
        }
        if self.exact.iter().any(|exact| exact == host) {
            return Some(if host == "localhost" { Reach::Loopback } else { Reach::Public });
        }
        self.below.iter().any(|below| host.ends_with(below)).then_some(Reach::Public)
    }
}

/// The host that an entry is, written as URLs write it.
fn host_in(entry: &str) -> Option<String> {
    let bare = entry.strip_prefix('[').and_then(|entry| entry.strip_suffix(']')).unwrap_or(entry);
    let written = if bare.parse::<Ipv6Addr>().is_ok() {
        format!("[{bare}]")
    } else if entry.contains([':', '/', '\\', '@', '?', '#', '*']) {
        return None;
    } else {
        entry.to_owned()
    };
    host_of(&Url::parse(&format!("http://{written}/")).ok()?)
}

/// The host of a URL: a name without the dot at its end, or an address without brackets.
pub(super) fn host_of(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let host = host.strip_suffix('.').unwrap_or(host);
    (!host.is_empty()).then(|| host.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(entries: &[&str]) -> anyhow::Result<AllowedHosts> {
        AllowedHosts::new(&entries.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>())
    }

    fn reach(hosts: &AllowedHosts, url: &str) -> Option<Reach> {
        hosts.reach(&host_of(&Url::parse(url).unwrap()).expect("a host"))
    }

    #[test]
    fn a_name_is_that_name_and_a_star_all_names_below() {
        let hosts = hosts(&["Example.com", "*.example.org", "bücher.example"]).expect("hosts");
        for (url, expected) in [
            ("http://example.com", true),
            ("https://EXAMPLE.com.:8443/x", true),
            ("http://www.example.com", false),
            ("http://example.com.evil.net", false),
            ("http://example.com@evil.net", false),
            ("http://a.example.org", true),
            ("http://a.b.example.org", true),
            ("http://example.org", false),
            ("http://evilexample.org", false),
            ("http://xn--bcher-kva.example", true),
            ("http://localhost", false),
        ] {
            assert_eq!(reach(&hosts, url), expected.then_some(Reach::Public), "{url}");
        }
    }

    #[test]
    fn an_address_must_be_named_itself_however_it_is_written() {
        let hosts = hosts(&["127.0.0.1", "[::1]", "::2", "localhost", "*.example.com"]).expect("hosts");
        assert_eq!(reach(&hosts, "http://localhost:1"), Some(Reach::Loopback));
        for url in
            ["http://127.0.0.1", "http://2130706433", "http://0x7f.1", "http://[::1]:80", "http://[::2]"]
        {
            assert_eq!(reach(&hosts, url), Some(Reach::Address), "{url}");
        }
        for url in ["http://127.0.0.2", "http://10.0.0.1", "http://[::ffff:127.0.0.1]", "http://a.localhost"]
        {
            assert_eq!(reach(&hosts, url), None, "{url}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused_at_the_start() {
        for entry in
            ["", "*", "http://example.com", "example.com/path", "example.com:80", "a.*.com", "*.1.2.3.4"]
        {
            assert!(hosts(&[entry]).is_err(), "{entry}");
        }
    }
}
