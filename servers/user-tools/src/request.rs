//! What is to be sent, as a value: a method, an address, headers and a body, with the bounds of the exchange.

use crate::hosts::{AllowedHosts, host_of};
use mcp_system_config::Method;
use std::fmt;
use url::Url;

/// A request that is ready to be sent. It may hold secrets, so it does not show its contents.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The address.
    pub url: Url,
    /// The headers.
    pub headers: Vec<Header>,
    /// The body's type and the body.
    pub body: Option<(String, String)>,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method.name(), shown(&self.url))
    }
}

/// A header of a request.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Whether it holds a secret, which must not be sent to another host than the first.
    pub secret: bool,
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The bounds of an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Where the request and its redirects may lead.
    pub hosts: AllowedHosts,
    /// The largest answer, in bytes.
    pub max_bytes: usize,
    /// Seconds after which it is given up.
    pub timeout_seconds: u32,
}

impl Bounds {
    /// The bounds of exchanges that begin at this address: its own host is allowed.
    ///
    /// # Errors
    /// Names the entry that is no host.
    pub fn new(
        base: &Url,
        allowed_hosts: &[String],
        private: bool,
        max_bytes: u32,
        timeout_seconds: u32,
    ) -> Result<Self, String> {
        let own = host_of(base).unwrap_or_default();
        let hosts = allowed_hosts.iter().map(String::as_str).chain([own.as_str()]);
        let hosts = AllowedHosts::new(hosts, private).map_err(|error| format!("allowedHosts: {error}"))?;
        Ok(Self { hosts, max_bytes: max_bytes as usize, timeout_seconds })
    }
}

/// An address without its query, which may hold a secret.
pub fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

/// Reads an address that requests may begin with.
///
/// # Errors
/// Says what should be written.
pub fn base(text: &str) -> Result<Url, String> {
    let url = Url::parse(text)
        .map_err(|error| format!("{text:?} is no address: {error}; write https://host/path"))?;
    if !matches!(url.scheme(), "http" | "https") || host_of(&url).is_none() {
        return Err(format!("{text:?} should begin with http:// or https:// and a host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "the address holds a user name or a password; send it in a header, by {{env.NAME}}".into()
        );
    }
    Ok(url)
}

/// Headers that say how a message is sent, which is not for a template to say.
const OF_THE_CONNECTION: [&str; 9] = [
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

pub(crate) fn check_header_name(name: &str) -> Result<(), String> {
    let sound = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
    if !sound {
        return Err(format!("{name:?} is no name of a header"));
    }
    if OF_THE_CONNECTION.contains(&name.to_ascii_lowercase().as_str()) {
        return Err(format!("the header {name} is set by the server itself; leave it out"));
    }
    Ok(())
}

/// Refuses what would end a header or could not be sent in one.
pub(crate) fn check_header_value(name: &str, value: &str) -> Result<(), String> {
    match value.chars().find(|letter| letter.is_control() && *letter != '\t') {
        Some(letter) => Err(format!("the header {name} cannot hold the control character {letter:?}")),
        None => Ok(()),
    }
}

/// Refuses a path in which a part was turned into a step to elsewhere: servers read `..`, and its escaped
/// forms, as the folder above.
pub(crate) fn check_path(path: &str) -> Result<(), String> {
    for segment in path.split('/') {
        let plain = segment.to_ascii_lowercase().replace("%2e", ".");
        if plain == "." || plain == ".." {
            return Err(format!("an argument made the part {plain:?} of the path, which leads elsewhere"));
        }
    }
    Ok(())
}
