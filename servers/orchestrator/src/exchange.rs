//! One request to a server and all that comes back for it: progress first, then a result or an error.

use crate::connection::{Connection, Failure, turned_away};
use crate::headers::Headers;
use futures::{Stream, StreamExt};
use rmcp::RoleServer;
use rmcp::model::{
    CancelledNotification, CancelledNotificationParam, ClientJsonRpcMessage, ClientRequest, ClientResult,
    EmptyResult, ErrorCode, ErrorData, JsonRpcMessage, JsonRpcRequest, Notification,
    ProgressNotificationParam, ProgressToken, RequestId, ServerJsonRpcMessage, ServerNotification,
    ServerRequest, ServerResult,
};
use rmcp::service::Peer;
use rmcp::transport::streamable_http_client::{
    StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse,
};
use std::sync::Arc;
use std::time::Duration;

/// Before a broken stream is taken up again, when the server names no other time.
const RESUME_PAUSE: Duration = Duration::from_secs(1);
/// How long a message that wants no answer may take.
const ASIDE_DEADLINE: Duration = Duration::from_secs(2);
/// How the SDK says that an event is larger than it reads; the type of that error is not public.
const EVENT_TOO_LARGE: &str = "SSE event exceeded the maximum size";
/// So much of an answer that is no message is told.
const TOLD_CHARACTERS: usize = 300;

/// A result, and the session that came with it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) result: ServerResult,
    pub(crate) session: Option<String>,
}

/// Hands progress on to the client that asked for it, under the client's own token.
#[derive(Clone, Debug)]
pub(crate) struct Forward {
    pub(crate) peer: Peer<RoleServer>,
    pub(crate) token: ProgressToken,
}

impl Forward {
    async fn tell(&self, mut progress: ProgressNotificationParam) {
        progress.progress_token = self.token.clone();
        // Waiting until it is written keeps it before the result. A client that is gone ends the call anyway.
        if let Err(error) = self.peer.notify_progress(progress).await {
            tracing::debug!(%error, "progress was not delivered");
        }
    }
}

/// A request under way.
pub(crate) struct Exchange<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) id: RequestId,
    pub(crate) headers: Headers,
    pub(crate) session: Option<Arc<str>>,
    /// Whether the server speaks an earlier revision, where closing the connection cancels nothing.
    pub(crate) earlier: bool,
    /// Whether the server may be working on it.
    pub(crate) open: bool,
}

impl Exchange<'_> {
    pub(crate) async fn run(
        &mut self,
        request: ClientRequest,
        forward: Option<&Forward>,
    ) -> Result<Answer, Failure> {
        // The handshake must not be cancelled, the protocol says.
        self.open =
            !matches!(request, ClientRequest::InitializeRequest(_) | ClientRequest::DiscoverRequest(_));
        let message = ClientJsonRpcMessage::request(request, self.id.clone());
        let result = self.post(message, forward).await;
        // Anything but silence means that the server is done with it.
        self.open = false;
        result
    }

    async fn post(
        &self,
        message: ClientJsonRpcMessage,
        forward: Option<&Forward>,
    ) -> Result<Answer, Failure> {
        let Connection { client, url, key, .. } = self.connection;
        let key = key.get().await;
        let posted =
            client.post_message(url.clone(), message, self.session.clone(), key, self.headers.clone());
        match posted.await? {
            StreamableHttpPostResponse::Json(message, session) => match self.hear(message, forward).await {
                Some(result) => Ok(Answer { result: result?, session }),
                None => Err(Failure::Lost("it answered something else".to_owned())),
            },
            StreamableHttpPostResponse::Sse(mut stream, session) => {
                let mut last = None;
                let mut pause = RESUME_PAUSE;
                loop {
                    let events = stream
                        .map(|event| event.map(|sse| Event { data: sse.data, id: sse.id, retry: sse.retry }));
                    if let Some(result) = self.read(events, &mut last, &mut pause, forward).await {
                        return Ok(Answer { result: result?, session });
                    }
                    // A server of before may end the stream when it likes and go on with it in another.
                    if !self.earlier || last.is_none() {
                        return Err(Failure::Lost("its answer broke off".to_owned()));
                    }
                    tokio::time::sleep(pause).await;
                    let (session, headers) = (self.session.clone(), self.headers.clone());
                    let key = self.connection.key.get().await;
                    // Whatever fails from here on: the request was sent, so this must not read as if it was not.
                    stream = client
                        .get_stream(url.clone(), session, last.clone(), key, headers)
                        .await
                        .map_err(|error| Failure::Lost(format!("its answer broke off: {error}")))?;
                }
            }
            _ => Err(Failure::Lost("it took the request and answered nothing".to_owned())),
        }
    }

    /// Reads a stream until the answer, or to its end.
    async fn read<E: std::fmt::Display>(
        &self,
        events: impl Stream<Item = Result<Event, E>> + Send,
        last: &mut Option<String>,
        pause: &mut Duration,
        forward: Option<&Forward>,
    ) -> Option<Result<ServerResult, Failure>> {
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            let event = match event {
                Ok(event) => event,
                // Taken up again, it would be as large.
                Err(error) if error.to_string().contains(EVENT_TOO_LARGE) => {
                    return Some(Err(Failure::Answered(too_large())));
                }
                Err(_) => break,
            };
            if event.id.is_some() {
                *last = event.id;
            }
            if let Some(retry) = event.retry {
                *pause = Duration::from_millis(retry).min(RESUME_PAUSE * 10);
            }
            let Some(data) = event.data.filter(|data| !data.is_empty()) else { continue };
            match serde_json::from_str(&data) {
                Ok(message) => {
                    if let Some(result) = self.hear(message, forward).await {
                        return Some(result);
                    }
                }
                Err(error) => {
                    return Some(Err(Failure::Lost(format!("it sent what is no message: {error}"))));
                }
            }
        }
        None
    }

    /// Takes one message; the answer to this request, when it is that.
    async fn hear(
        &self,
        message: ServerJsonRpcMessage,
        forward: Option<&Forward>,
    ) -> Option<Result<ServerResult, Failure>> {
        match message {
            JsonRpcMessage::Response(response) if response.id == self.id => Some(Ok(response.result)),
            // An error without an id is about the only request of this exchange.
            JsonRpcMessage::Error(error) if error.id.as_ref().is_none_or(|id| *id == self.id) => {
                Some(Err(if turned_away(&error.error, self.session.is_some()) {
                    Failure::Stale(error.error.message.into_owned())
                } else {
                    Failure::Refused(error.error)
                }))
            }
            JsonRpcMessage::Notification(notification) => {
                match notification.notification {
                    ServerNotification::ProgressNotification(progress) => {
                        if let Some(forward) = forward.filter(|_| progress.params.progress_token.0 == self.id)
                        {
                            forward.tell(progress.params).await;
                        }
                    }
                    ServerNotification::ToolListChangedNotification(_) => {
                        self.connection.changed.notify_one();
                    }
                    _ => {}
                }
                None
            }
            JsonRpcMessage::Request(request) => {
                self.aside(refusal(request));
                None
            }
            JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_) => None,
        }
    }

    /// Sends what wants no answer, without waiting for it.
    fn aside(&self, message: ClientJsonRpcMessage) {
        let Connection { client, url, key, .. } = self.connection;
        let (client, url, key) = (client.clone(), url.clone(), key.last());
        let (session, headers) = (self.session.clone(), self.headers.clone());
        // Without a runtime there is nobody left whom it could concern.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let posted = client.post_message(url, message, session, key, headers);
                let _ = tokio::time::timeout(ASIDE_DEADLINE, posted).await;
            });
        }
    }
}

impl Drop for Exchange<'_> {
    /// Given up before the answer. In the latest revision the closed connection says so; before it a message must.
    fn drop(&mut self) {
        if self.open && self.earlier {
            let reason = "the client does not wait any longer".to_owned();
            let params = CancelledNotificationParam::new(Some(self.id.clone()), Some(reason));
            let cancelled: CancelledNotification = Notification::new(params);
            self.aside(ClientJsonRpcMessage::notification(cancelled.into()));
        }
    }
}

/// What a server's own request gets: a ping its answer, anything else that this client cannot do it.
fn refusal(JsonRpcRequest { id, request, .. }: JsonRpcRequest<ServerRequest>) -> ClientJsonRpcMessage {
    if matches!(request, ServerRequest::PingRequest(_)) {
        return ClientJsonRpcMessage::response(ClientResult::EmptyResult(EmptyResult {}), id);
    }
    let message = "this gateway answers no requests of servers";
    ClientJsonRpcMessage::error(ErrorData::new(ErrorCode::METHOD_NOT_FOUND, message, None), Some(id))
}

/// The parts of a server-sent event that matter here.
struct Event {
    data: Option<String>,
    id: Option<String>,
    retry: Option<u64>,
}

impl From<StreamableHttpError<reqwest::Error>> for Failure {
    fn from(error: StreamableHttpError<reqwest::Error>) -> Self {
        match error {
            StreamableHttpError::Client(error) if error.is_connect() => Self::Unreachable(innermost(&error)),
            StreamableHttpError::Client(error) => Self::Lost(innermost(&error)),
            StreamableHttpError::SessionExpired => Self::Stale("the session is unknown".to_owned()),
            StreamableHttpError::AuthRequired(_) => Self::Denied,
            StreamableHttpError::InsufficientScope(_) => {
                turned_away_with("HTTP 403, its key does not allow it")
            }
            StreamableHttpError::ResponseBodyTooLarge { .. } => Self::Answered(too_large()),
            StreamableHttpError::HttpStatus(error) if error.status == 429 => turned_away_with("HTTP 429"),
            // So the SDK tells of any other status from 400 to 499: the server works and did not want this.
            StreamableHttpError::UnexpectedServerResponse(told) if told.starts_with("HTTP 401") => {
                Self::Denied
            }
            StreamableHttpError::UnexpectedServerResponse(told) if told.starts_with("HTTP 4") => {
                turned_away_with(&told)
            }
            error => Self::Lost(error.to_string()),
        }
    }
}

fn turned_away_with(status: &str) -> Failure {
    let told: String = status.chars().take(TOLD_CHARACTERS).collect();
    Failure::Answered(format!("turned the request away ({told})"))
}

fn too_large() -> String {
    "did what it was asked for and answered with more than 16 MiB, which is the limit".to_owned()
}

/// The last cause, which says what happened; those before only say where.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
