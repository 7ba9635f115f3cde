//! Asks one MCP endpoint whether it answers, as a client would: the newest revision first, the session
//! handshake of the older ones where a server knows only that.
//!
//! This crate must not know systems, plans, clusters or processes: an [`Endpoint`] goes in, an [`Answer`] comes out.

mod client;
mod self_check;

pub use client::client;

use rmcp::model::{
    ClientCapabilities, ClientConfig, Implementation, PaginatedRequestParams, ProtocolVersion,
};
use rmcp::service::{ClientInitializeError, RunningService, serve_client_with_lifecycle};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientLifecycleMode, RoleClient};
use std::time::Duration;
use tokio::time::Instant;

/// Pages of a tool list that are read; a server that has more is counted up to there.
const PAGES: usize = 50;
/// An answer larger than this is none: a list of tools has a few hundred kilobytes at most.
const MAX_BYTES: usize = 8 << 20;
/// How long the end of a session may take, after everything was answered.
const GOODBYE: Duration = Duration::from_secs(1);

/// Whom to ask, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// An MCP endpoint, which is sent a request.
    Mcp(String),
    /// Where one of this project's own servers tells what came of the last request that it sent itself.
    SelfCheck(String),
}

impl Endpoint {
    /// Where it is.
    pub fn url(&self) -> &str {
        match self {
            Self::Mcp(url) | Self::SelfCheck(url) => url,
        }
    }
}

/// What an endpoint answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether it answered, or why not, in one line.
    pub answered: Result<(), String>,
    /// The version that the server tells of itself.
    pub version: Option<String>,
    /// How many tools it lists; none where it offers no tools at all.
    pub tools: Option<u32>,
    /// The protocol revision that was agreed on.
    pub protocol: Option<String>,
    /// What of its settings it says that it cannot use. Only this project's own servers tell; bounded in number and length.
    pub warnings: Vec<String>,
}

impl Answer {
    fn none(error: String) -> Self {
        Self { answered: Err(error), version: None, tools: None, protocol: None, warnings: Vec::new() }
    }
}

/// Asks who it is and which tools it has. Takes no longer than `deadline`.
pub async fn ask(client: &reqwest::Client, endpoint: &Endpoint, deadline: Duration) -> Answer {
    let asked = async {
        match endpoint {
            Endpoint::Mcp(url) => converse(client, url, Instant::now() + deadline).await,
            Endpoint::SelfCheck(url) => self_check::converse(client, url).await,
        }
    };
    match tokio::time::timeout(deadline, asked).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => Answer::none(one_line(&error)),
        Err(_) => Answer::none(format!("no answer within {} s", deadline.as_secs_f32())),
    }
}

async fn converse(client: &reqwest::Client, url: &str, until: Instant) -> anyhow::Result<Answer> {
    let mut peer = open(client, url, until).await?;
    let told = questions(&peer).await;
    // Only the older revisions have a session to close; a server that does not let go of it is no failure.
    if let Err(error) = peer.close_with_timeout(GOODBYE).await {
        tracing::debug!(%error, url, "the session did not end cleanly");
    }
    told
}

/// Opens with `server/discover`, else with `initialize`. Some older servers refuse what they do not know
/// in ways that no client can tell from a failure, so any failure but that of the connection is tried again.
async fn open(
    client: &reqwest::Client,
    url: &str,
    until: Instant,
) -> Result<RunningService<RoleClient, ClientConfig>, ClientInitializeError> {
    let auto = ClientLifecycleMode::Auto {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
        legacy_version: Some(ProtocolVersion::LATEST_WITH_INITIALIZE),
    };
    // An older server may also keep silent about what it does not know: half of the time is for that.
    let half = until - until.saturating_duration_since(Instant::now()) / 2;
    match tokio::time::timeout_at(half, serve_client_with_lifecycle(me(), transport(client, url), auto)).await
    {
        Ok(Ok(peer)) => Ok(peer),
        Ok(Err(error)) if matches!(error, ClientInitializeError::LegacyFallbackFailed { .. }) => Err(error),
        _ => {
            let legacy = ClientLifecycleMode::Initialize;
            serve_client_with_lifecycle(me(), transport(client, url), legacy).await
        }
    }
}

async fn questions(peer: &RunningService<RoleClient, ClientConfig>) -> anyhow::Result<Answer> {
    let info = peer.peer_info();
    let has_tools = info.as_ref().is_none_or(|info| info.capabilities.tools.is_some());
    let tools = if has_tools { Some(count_tools(peer).await?) } else { None };
    Ok(Answer {
        answered: Ok(()),
        version: info
            .as_ref()
            .and_then(|info| info.server_info.as_ref())
            .map(|server| server.version.clone())
            .filter(|version| !version.is_empty()),
        tools,
        protocol: info.map(|info| info.protocol_version.as_str().to_owned()),
        warnings: Vec::new(),
    })
}

async fn count_tools(peer: &RunningService<RoleClient, ClientConfig>) -> anyhow::Result<u32> {
    let mut count = 0usize;
    let mut cursor = None;
    for _ in 0..PAGES {
        let page = peer.list_tools(Some(PaginatedRequestParams::default().with_cursor(cursor))).await?;
        count += page.tools.len();
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

fn me() -> ClientConfig {
    let name = Implementation::new("mcp-system-probe", env!("CARGO_PKG_VERSION"));
    // The version that `initialize` offers; `server/discover` chooses its own.
    ClientConfig::new(ClientCapabilities::default(), name)
        .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE)
}

fn transport(client: &reqwest::Client, url: &str) -> StreamableHttpClientTransport<reqwest::Client> {
    let config = StreamableHttpClientTransportConfig::with_uri(url)
        .max_json_response_size(MAX_BYTES)
        .max_sse_event_size(MAX_BYTES);
    StreamableHttpClientTransport::with_client(client.clone(), config)
}

/// An error and its causes on one line of bounded length.
fn one_line(error: &anyhow::Error) -> String {
    let text = format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(300) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
