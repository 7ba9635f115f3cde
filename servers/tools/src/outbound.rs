//! Requests to the world: only to hosts that are allowed, redirects checked like the first address, answers
//! bounded in size and time. It knows nothing of the tools that send them.

mod address;
mod resolver;

use crate::tool::Failure;
use anyhow::Context;
use mcp_system_config::Method;
use mcp_system_kit::guarded::{Guarded, Trouble, Verdict};
use mcp_system_user_tools::hosts::{AllowedHosts, host_of};
use mcp_system_user_tools::{Bounds, Request, shown};
use reqwest::header::{CONTENT_TYPE, HeaderMap, LOCATION, SET_COOKIE};
use reqwest::{Client, Response, Url};
pub(crate) use resolver::Lookup;
use resolver::{Checked, system};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const MAX_REDIRECTS: usize = 5;

/// Clients for sets of hosts; clones share them. Tools with the same hosts share one client.
#[derive(Clone)]
pub(crate) struct Clients {
    lookup: Lookup,
    made: Arc<Mutex<Vec<(AllowedHosts, Client)>>>,
}

impl Default for Clients {
    fn default() -> Self {
        Self::with_lookup(system())
    }
}

impl Clients {
    pub(crate) fn with_lookup(lookup: Lookup) -> Self {
        Self { lookup, made: Arc::default() }
    }

    /// What may be reached within these bounds. `setting` is what allows hosts, for messages.
    pub(crate) fn outbound(&self, bounds: &Bounds, setting: &str) -> anyhow::Result<Outbound> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let known = made.iter().find(|(hosts, _)| *hosts == bounds.hosts).map(|(_, client)| client.clone());
        let client = if let Some(client) = known {
            client
        } else {
            let client = client(&bounds.hosts, &self.lookup)?;
            made.push((bounds.hosts.clone(), client.clone()));
            client
        };
        Ok(Outbound { client, bounds: bounds.clone(), setting: setting.to_owned() })
    }
}

fn client(hosts: &AllowedHosts, lookup: &Lookup) -> anyhow::Result<Client> {
    mcp_system_kit::install_crypto();
    let resolver = Arc::new(Checked { hosts: hosts.clone(), lookup: lookup.clone() });
    let builder = || {
        Client::builder()
            .dns_resolver(resolver.clone())
            // A proxy would resolve names in its own way, past the checks.
            .no_proxy()
            // Each hop is checked here, not in the client.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .user_agent(concat!("mcp-system/", env!("CARGO_PKG_VERSION")))
    };
    let client = builder().build().or_else(|error| {
        tracing::warn!(%error, "the system's certificates cannot be read; https will be refused");
        builder().tls_certs_only([]).build()
    });
    client.context("no HTTP client can be built")
}

/// Sends requests within bounds.
#[derive(Clone, Debug)]
pub(crate) struct Outbound {
    client: Client,
    bounds: Bounds,
    setting: String,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Where it came from, after all redirects.
    pub(crate) url: Url,
    pub(crate) status: u16,
    /// All but cookies.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// The addresses that led to another, in order.
    pub(crate) redirects: Vec<String>,
}

/// Why a request brought no answer that is of use.
#[derive(Debug)]
enum Problem {
    /// It must not be sent, or its answer must not be taken.
    Refused(Failure),
    /// Nobody answered.
    Silent(Failure),
    /// Whoever answered cannot do what it is there for.
    Unable(Box<Answer>),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(failure) | Self::Silent(failure) => failure.fmt(f),
            Self::Unable(answer) => write!(f, "it answered with status {}", answer.status),
        }
    }
}

impl Problem {
    /// A request may cost something, so none is repeated here.
    const fn verdict(&self) -> Verdict {
        match self {
            Self::Refused(_) => Verdict::Answered,
            Self::Silent(_) | Self::Unable(_) => Verdict::Failed,
        }
    }

    fn into_answer(self) -> Result<Answer, Failure> {
        match self {
            Self::Refused(failure) | Self::Silent(failure) => Err(failure),
            Self::Unable(answer) => Ok(*answer),
        }
    }
}

impl Answer {
    pub(crate) fn content_type(&self) -> Option<&str> {
        self.headers.get(CONTENT_TYPE.as_str()).map(String::as_str)
    }
}

impl Outbound {
    /// Sends a request and follows where it is led.
    pub(crate) async fn exchange(&self, request: Request) -> Result<Answer, Failure> {
        let first = shown(&request.url);
        let followed = tokio::time::timeout(self.limit(), self.follow(request)).await;
        followed.map_err(|_| self.too_slow(&first))?.or_else(Problem::into_answer)
    }

    /// The same, to a server that the settings name: one that fails again and again is left alone for a while. It has
    /// failed when it is silent, and when it answers that it cannot work now.
    pub(crate) async fn exchange_behind(
        &self,
        guarded: &Guarded,
        request: Request,
    ) -> Result<Answer, Failure> {
        let first = shown(&request.url);
        let sent = || async {
            let answer = self.follow(request.clone()).await?;
            let unable = answer.status >= 500 || answer.status == 429;
            if unable { Err(Problem::Unable(Box::new(answer))) } else { Ok(answer) }
        };
        match guarded.call(self.limit(), Problem::verdict, sent).await {
            Ok(answer) => Ok(answer),
            Err(Trouble::Failed(problem)) => problem.into_answer(),
            Err(Trouble::Late { .. }) => Err(self.too_slow(&first)),
            Err(trouble) => Err(Failure(format!("{first}: {trouble}"))),
        }
    }

    fn limit(&self) -> Duration {
        Duration::from_secs(self.bounds.timeout_seconds.into())
    }

    fn too_slow(&self, first: &str) -> Failure {
        Failure(format!("{first} did not answer in full within {} seconds", self.limit().as_secs()))
    }

    async fn follow(&self, mut request: Request) -> Result<Answer, Problem> {
        let origin = request.url.origin();
        let mut redirects = Vec::new();
        loop {
            self.check(&request.url).map_err(Problem::Refused)?;
            let response = self.send(&request, request.url.origin() == origin).await?;
            let Some(next) = next(&request.url, &response) else {
                return self.read(request.url, response, redirects).await;
            };
            if redirects.len() == MAX_REDIRECTS {
                return Err(Problem::Refused(Failure(format!(
                    "more than {MAX_REDIRECTS} redirects, the last to {}",
                    shown(&next)
                ))));
            }
            // As browsers do: the answer to a form is fetched, not sent again.
            let status = response.status().as_u16();
            if status == 303 || (matches!(status, 301 | 302) && request.method == Method::Post) {
                request.method = if request.method == Method::Head { Method::Head } else { Method::Get };
                request.body = None;
            }
            redirects.push(std::mem::replace(&mut request.url, next).into());
        }
    }

    /// Whether an address may be reached, as far as its text tells.
    fn check(&self, url: &Url) -> Result<(), Failure> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Failure(format!("{} cannot be fetched: only http and https can", shown(url))));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Failure("url holds a user name or a password: leave it out".to_owned()));
        }
        let host = host_of(url).unwrap_or_default();
        match self.bounds.hosts.reach(&host) {
            Some(_) => Ok(()),
            None => Err(Failure(format!(
                "{host} is not among the hosts that this server's operator allows; the setting is {}",
                self.setting
            ))),
        }
    }

    async fn send(&self, request: &Request, same_origin: bool) -> Result<Response, Problem> {
        let method = match request.method {
            Method::Get => reqwest::Method::GET,
            Method::Head => reqwest::Method::HEAD,
            Method::Post => reqwest::Method::POST,
            Method::Put => reqwest::Method::PUT,
            Method::Patch => reqwest::Method::PATCH,
            Method::Delete => reqwest::Method::DELETE,
        };
        let mut builder = self.client.request(method, request.url.clone());
        for header in request.headers.iter().filter(|header| same_origin || !header.secret) {
            builder = builder.header(&header.name, &header.value);
        }
        if let Some((content_type, body)) = &request.body {
            builder = builder.header(CONTENT_TYPE, content_type).body(body.clone());
        }
        builder.send().await.map_err(|error| failed(&request.url, error))
    }

    async fn read(
        &self,
        url: Url,
        mut response: Response,
        redirects: Vec<String>,
    ) -> Result<Answer, Problem> {
        let max = self.bounds.max_bytes;
        let too_large = || {
            Problem::Refused(Failure(format!(
                "{} is larger than the {max} bytes that this server's operator allows",
                shown(&url)
            )))
        };
        if response.content_length().is_some_and(|bytes| bytes > max as u64) {
            return Err(too_large());
        }
        let status = response.status().as_u16();
        let headers = told(response.headers());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| failed(&url, error))? {
            if body.len() + chunk.len() > max {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { url, status, headers, body, redirects })
    }
}

/// Where a response leads on to, when it does.
fn next(url: &Url, response: &Response) -> Option<Url> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    url.join(location).ok()
}

fn told(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut told = BTreeMap::<String, String>::new();
    for (name, value) in headers.iter().filter(|(name, _)| **name != SET_COOKIE) {
        let value = String::from_utf8_lossy(value.as_bytes());
        told.entry(name.to_string())
            .and_modify(|values| *values = format!("{values}, {value}"))
            .or_insert_with(|| value.into_owned());
    }
    told
}

/// An error with its causes: the client's own text says only that something went wrong. The address in it may
/// hold a secret in its query, so it is left out.
fn failed(url: &Url, error: reqwest::Error) -> Problem {
    let error = error.without_url();
    let mut causes = String::new();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        causes = format!(": {cause}");
        source = cause.source();
    }
    Problem::Silent(Failure(format!("{} could not be fetched{causes}", shown(url))))
}
