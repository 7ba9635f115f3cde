//! One server as the other end of requests: finds out which era of the protocol it speaks, keeps a session
//! where it wants one, and takes a new one when that was lost.
//!
//! Each request is an HTTP request of its own, without the SDK's worker between: that lets sixteen requests
//! through at a time, so sixteen that hang would hold up all others. Dropping a request ends it.

use crate::exchange::{Answer, Exchange, Forward};
use crate::headers::Headers;
use crate::key::Key;
use rmcp::model::{
    ClientCapabilities, ClientJsonRpcMessage, ClientRequest, DiscoverRequestParams, ErrorCode, ErrorData,
    GetMeta, Implementation, InitializeRequestParams, InitializedNotification, JsonObject, ProtocolVersion,
    Request, RequestId, ServerResult,
};
use rmcp::transport::streamable_http_client::StreamableHttpClient;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, Notify};

/// How long a server may take to say whether it knows the latest revision. One of before may never answer.
const DISCOVER_DEADLINE: Duration = Duration::from_secs(2);
/// How long the goodbye to a server may take.
const LEAVE_DEADLINE: Duration = Duration::from_secs(1);
/// The revision that is offered to servers of before.
const EARLIER: ProtocolVersion = ProtocolVersion::V_2025_11_25;

/// Why a request has no result.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Failure {
    /// It was never sent, so it can be repeated.
    Unreachable(String),
    /// It was sent, and no answer came: it may have been carried out.
    Lost(String),
    /// It was answered with an error.
    Refused(ErrorData),
    /// It was answered with no message of the protocol: turned away with a status, or with more than is read. What it did.
    Answered(String),
    /// It was turned away at the door, because the session or the revision is not known there (any more).
    Stale(String),
    /// It was turned away at the door for want of a key.
    Denied,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable(why) | Self::Lost(why) | Self::Stale(why) => f.write_str(why),
            Self::Answered(what) => write!(f, "it {what}"),
            Self::Refused(error) => f.write_str(&error.message),
            Self::Denied => f.write_str("it wants another key"),
        }
    }
}

/// How a server is spoken to.
#[derive(Debug)]
pub(crate) enum Era {
    /// Every request stands by itself.
    Modern,
    /// After a handshake, perhaps with a session.
    Earlier { version: ProtocolVersion, session: Option<Arc<str>> },
}

/// The way to one server.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) client: reqwest::Client,
    pub(crate) url: Arc<str>,
    pub(crate) key: Key,
    /// Rung when the server says that its list of tools changed.
    pub(crate) changed: Arc<Notify>,
    era: Mutex<Option<Arc<Era>>>,
    ids: AtomicI64,
}

/// What belongs to a request besides itself.
#[derive(Default)]
pub(crate) struct Extras<'a> {
    /// Where progress goes.
    pub(crate) forward: Option<Forward>,
    /// Headers of the client's request that are handed on.
    pub(crate) headers: Headers,
    /// The input schema of the tool that is called.
    pub(crate) schema: Option<&'a JsonObject>,
}

impl Connection {
    pub(crate) fn new(client: reqwest::Client, url: &str, key: Key) -> Self {
        let (changed, era, ids) = (Arc::default(), Mutex::new(None), AtomicI64::new(1));
        Self { client, url: url.into(), key, changed, era, ids }
    }

    /// Sends a request and waits for its result, for as long as the caller does.
    pub(crate) async fn request(
        &self,
        request: ClientRequest,
        extras: &Extras<'_>,
    ) -> Result<ServerResult, Failure> {
        match self.attempt(request.clone(), extras).await {
            // Turned away at the door, it was not carried out: once more with the new key, where there is one.
            Err(Failure::Denied) if self.key.read().await => self.attempt(request, extras).await,
            answered => answered,
        }
    }

    async fn attempt(&self, request: ClientRequest, extras: &Extras<'_>) -> Result<ServerResult, Failure> {
        let era = self.era().await?;
        match self.exchange(&era, request.clone(), extras).await {
            // Turned away at the door, it was not carried out: once more through the new one.
            Err(Failure::Stale(reason)) => {
                tracing::info!(url = &*self.url, reason, "a server forgot its session; taking a new one");
                self.forget(&era).await;
                let era = self.era().await?;
                self.exchange(&era, request, extras).await.map(|answer| answer.result)
            }
            answered => answered.map(|answer| answer.result),
        }
    }

    /// Finds out anew how the server is spoken to, at the next request.
    pub(crate) async fn renegotiate(&self) {
        *self.era.lock().await = None;
    }

    /// Ends the session, where there is one, so that the server need not keep it until it times out.
    pub(crate) async fn leave(&self) {
        let era = self.era.lock().await.take();
        if let Some(Era::Earlier { version, session: Some(session) }) = era.as_deref() {
            let headers = crate::headers::version(version);
            let key = self.key.get().await;
            let ended = self.client.delete_session(self.url.clone(), session.clone(), key, headers);
            let _ = tokio::time::timeout(LEAVE_DEADLINE, ended).await;
        }
    }

    async fn forget(&self, stale: &Arc<Era>) {
        let mut era = self.era.lock().await;
        // Another request may have been faster.
        if era.as_ref().is_some_and(|current| Arc::ptr_eq(current, stale)) {
            *era = None;
        }
    }

    async fn era(&self) -> Result<Arc<Era>, Failure> {
        let mut era = self.era.lock().await;
        if let Some(era) = &*era {
            return Ok(era.clone());
        }
        let found = Arc::new(self.negotiate().await?);
        // The session itself is as good as a key, so only that there is one is told.
        let (revision, session) = match &*found {
            Era::Modern => (ProtocolVersion::V_2026_07_28, false),
            Era::Earlier { version, session } => (version.clone(), session.is_some()),
        };
        tracing::info!(url = &*self.url, revision = revision.as_str(), session, "connected");
        *era = Some(found.clone());
        Ok(found)
    }

    async fn negotiate(&self) -> Result<Era, Failure> {
        let discover = ClientRequest::DiscoverRequest(Request::new(DiscoverRequestParams::default()));
        let extras = Extras::default();
        let discovered = self.exchange(&Era::Modern, discover, &extras);
        match tokio::time::timeout(DISCOVER_DEADLINE, discovered).await {
            Ok(Ok(Answer { result: ServerResult::DiscoverResult(result), .. }))
                if result.supported_versions.contains(&ProtocolVersion::V_2026_07_28) =>
            {
                Ok(Era::Modern)
            }
            Ok(Err(failure @ (Failure::Unreachable(_) | Failure::Denied))) => Err(failure),
            // It said no in one of many ways, or did not know what to say.
            _ => self.initialize().await,
        }
    }

    async fn initialize(&self) -> Result<Era, Failure> {
        let params = InitializeRequestParams::new(ClientCapabilities::default(), implementation())
            .with_protocol_version(EARLIER);
        let initialize = ClientRequest::InitializeRequest(Request::new(params));
        let bare = Era::Earlier { version: EARLIER, session: None };
        let Answer { result, session } = self.exchange(&bare, initialize, &Extras::default()).await?;
        let ServerResult::InitializeResult(result) = result else {
            return Err(Failure::Lost("it answered initialize with something else".to_owned()));
        };
        let session: Option<Arc<str>> = session.map(Into::into);
        let version = result.protocol_version;
        let initialized = ClientJsonRpcMessage::notification(InitializedNotification::default().into());
        let headers = crate::headers::version(&version);
        let key = self.key.get().await;
        let told = self.client.post_message(self.url.clone(), initialized, session.clone(), key, headers);
        told.await.map_err(Failure::from)?;
        Ok(Era::Earlier { version, session })
    }

    /// One request over HTTP and its answer.
    async fn exchange(
        &self,
        era: &Era,
        mut request: ClientRequest,
        extras: &Extras<'_>,
    ) -> Result<Answer, Failure> {
        let id = RequestId::Number(self.ids.fetch_add(1, Ordering::Relaxed));
        prepare(era, &mut request, &id, extras.forward.is_some());
        let (headers, session) = match era {
            Era::Modern => {
                let mut headers = extras.headers.clone();
                headers.extend(crate::headers::modern(&request, extras.schema));
                (headers, None)
            }
            // The handshake itself comes before there is an agreed revision.
            Era::Earlier { .. } if matches!(request, ClientRequest::InitializeRequest(_)) => {
                (Headers::new(), None)
            }
            Era::Earlier { version, session } => {
                let mut headers = crate::headers::version(version);
                headers.extend(crate::headers::of_caller(&extras.headers));
                (headers, session.clone())
            }
        };
        let earlier = matches!(era, Era::Earlier { .. });
        let mut exchange = Exchange { connection: self, id, headers, session, earlier, open: false };
        exchange.run(request, extras.forward.as_ref()).await
    }
}

/// This gateway as a client.
pub(crate) fn implementation() -> Implementation {
    Implementation::new("mcp-system-orchestrator", env!("CARGO_PKG_VERSION"))
}

/// The metadata that the server's era wants, with a progress token of our own: two clients may use the same.
fn prepare(era: &Era, request: &mut ClientRequest, id: &RequestId, progress: bool) {
    let meta = request.get_meta_mut();
    match era {
        Era::Modern => {
            meta.set_protocol_version(ProtocolVersion::V_2026_07_28);
            if meta.client_info().is_none() {
                meta.set_client_info(implementation());
            }
            let mut capabilities = meta.client_capabilities().unwrap_or_default();
            // Extensions such as tasks need more than this gateway hands on.
            capabilities.extensions = None;
            meta.set_client_capabilities(capabilities);
        }
        Era::Earlier { .. } => meta.0.0.retain(|key, _| !key.starts_with("io.modelcontextprotocol/")),
    }
    meta.0.0.shift_remove("progressToken");
    if progress {
        meta.set_progress_token(rmcp::model::ProgressToken(id.clone()));
    }
}

/// Whether an error says that the request was not looked at, only turned away.
pub(crate) fn turned_away(error: &ErrorData, session: bool) -> bool {
    // The TypeScript SDK's transport answers unknown and missing sessions like this, before it hands a
    // request on; a tool's own error could have the code, but not this text.
    let no_session = session && error.code == ErrorCode(-32000) && error.message.starts_with("Bad Request:");
    no_session || error.code == ErrorCode::UNSUPPORTED_PROTOCOL_VERSION
}
