//! Which hosts may be reached.

use std::net::{IpAddr, Ipv6Addr};
use url::Url;

/// Hosts as settings name them, normalised as URLs are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedHosts {
    exact: Vec<String>,
    /// `.example.com` for `*.example.com`.
    below: Vec<String>,
    addresses: Vec<IpAddr>,
    private: bool,
}

/// To which addresses a host that is allowed may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Those of the public internet.
    Public,
    /// Those of private networks as well.
    Private,
    /// This machine itself: the settings name `localhost`.
    Loopback,
    /// This very address: the settings name it.
    Address,
}

impl AllowedHosts {
    /// Reads the settings' entries. With `private`, names may lead to private addresses.
    ///
    /// # Errors
    /// Names the entry that is no host, and says what to write.
    pub fn new<'a>(entries: impl IntoIterator<Item = &'a str>, private: bool) -> Result<Self, String> {
        let mut hosts = Self { private, ..Self::default() };
        for entry in entries {
            let (wildcard, name) = match entry.trim().strip_prefix("*.") {
                Some(name) => (true, name),
                None => (false, entry.trim()),
            };
            let host = host_in(name)
                .ok_or_else(|| format!("{entry:?} is no host; write example.com or *.example.com"))?;
            match (wildcard, host.parse()) {
                (false, Ok(address)) => hosts.addresses.push(address),
                (false, Err(_)) => hosts.exact.push(host),
                (true, Ok(_)) => return Err(format!("{entry:?}: an address has no names below it")),
                (true, Err(_)) => hosts.below.push(format!(".{host}")),
            }
        }
        Ok(hosts)
    }

    /// Where a host may lead; `None` when it is not allowed.
    pub fn reach(&self, host: &str) -> Option<Reach> {
        if let Ok(address) = host.parse() {
            return self.addresses.contains(&address).then_some(Reach::Address);
        }
        let named = if self.private { Reach::Private } else { Reach::Public };
        if self.exact.iter().any(|exact| exact == host) {
            return Some(if host == "localhost" { Reach::Loopback } else { named });
        }
        self.below.iter().any(|below| host.ends_with(below)).then_some(named)
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
pub fn host_of(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let host = host.strip_suffix('.').unwrap_or(host);
    (!host.is_empty()).then(|| host.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(entries: &[&str]) -> Result<AllowedHosts, String> {
        AllowedHosts::new(entries.iter().copied(), false)
    }

    fn reach(hosts: &AllowedHosts, url: &str) -> Option<Reach> {
        hosts.reach(&host_of(&Url::parse(url).unwrap()).expect("a host"))
    }

    #[test]
    fn a_name_is_that_name_and_a_star_all_names_below() {
        let entries = ["Example.com", "*.example.org", "bücher.example"];
        let (hosts, private) =
            (hosts(&entries).expect("hosts"), AllowedHosts::new(entries, true).expect("hosts"));
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
            assert_eq!(reach(&private, url), expected.then_some(Reach::Private), "{url}");
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
