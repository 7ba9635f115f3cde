//! The HTTP routes of a server, and what is done to each request to the MCP endpoint on its way in and out.

use crate::callers::{Access, Caller, Refusal};
use crate::health::Health;
use crate::limits::{InFlight, Limits, Room};
use crate::listener::Peer;
use crate::mcp::Service;
use crate::self_check::SelfCheck;
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, AUTHORIZATION, CONNECTION, CONTENT_LENGTH,
    CONTENT_TYPE, ORIGIN, RETRY_AFTER, VARY, WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{any, get};
use http_body_util::{BodyExt, Full};
use serde::de::IgnoredAny;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// How long a request's body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(30);
/// An error text of the SDK is one line; anything longer is not rewritten.
const ERROR_TEXT_BYTES: usize = 64 << 10;

/// What the routes share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) health: Arc<Health>,
    pub(crate) access: Arc<Access>,
    pub(crate) check: SelfCheck,
    pub(crate) limits: Limits,
}

/// All routes of a server: its endpoint, its health, its metrics, and those it adds itself.
pub(crate) fn router(mcp: Service, extra: Option<Router>, shared: Shared) -> Router {
    // Shared: as a service of its own it would be copied for each request, with all the names that it lets in.
    let mcp = Router::new().route("/mcp", any(endpoint)).with_state((shared.clone(), Arc::new(mcp)));
    // For who reaches the server by the paths of its endpoint alone.
    let beside = format!("/mcp/{}/health", shared.health.server.replace('-', "_"));
    let own = Router::new()
        .route("/health", get(health))
        .route(&beside, get(health))
        .route("/health/live", get(async || Json(json!({"status": "alive"}))))
        .route("/metrics", get(metrics))
        .with_state(shared.clone());
    mcp.merge(own).merge(extra.unwrap_or_default()).layer(from_fn_with_state(shared, leave))
}

async fn health(State(shared): State<Shared>) -> Response {
    let ready = shared.health.status().ready();
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(shared.health.report())).into_response()
}

async fn metrics(State(shared): State<Shared>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shared.health.metrics.text())
        .into_response()
}

/// A server that is about to end asks its clients not to send anything more on this connection.
async fn leave(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if shared.health.draining() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The endpoint: callers show their keys first, there are not too many at a time, bodies arrive in time or
/// not at all, errors are JSON-RPC, allowed browsers may read.
async fn endpoint(State((shared, mcp)): State<(Shared, Arc<Service>)>, request: Request) -> Response {
    let origin = request.headers().get(ORIGIN).cloned();
    let method = request.method().clone();
    let mut response = match served(&shared, &mcp, request).await {
        Ok(response) | Err(response) => response,
    };
    if method == Method::OPTIONS && response.status() == StatusCode::METHOD_NOT_ALLOWED {
        // The SDK found the origin allowed and knows no such method: that is a browser's question beforehand.
        let asked = parts_allowed(origin.as_ref());
        response = (StatusCode::NO_CONTENT, asked).into_response();
    }
    let code = response.status();
    if code.is_client_error() || code.is_server_error() {
        shared.health.metrics.rejected(code);
    }
    if let Some(origin) = origin.filter(|_| code != StatusCode::FORBIDDEN) {
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("mcp-protocol-version, mcp-session-id, www-authenticate"),
        );
        headers.append(VARY, HeaderValue::from_static("origin"));
    }
    response
}

/// The answer of the SDK, or that of whatever stood before it.
async fn served(shared: &Shared, mcp: &Service, request: Request) -> Result<Response, Response> {
    let (mut parts, body) = request.into_parts();
    let marked = shared.check.marked(&parts.headers);
    // A browser's question beforehand carries no key and does nothing.
    if parts.method != Method::OPTIONS {
        let caller = if marked {
            Caller::owner()
        } else {
            let local = parts.extensions.get::<Peer>().is_some_and(|peer| peer.local);
            shared.access.admit(&parts.headers, local).map_err(|refusal| refused(&refusal))?
        };
        // The key opened this door and is nobody's business behind it.
        parts.headers.remove(AUTHORIZATION);
        parts.extensions.insert(caller);
    }
    // A full server works: were its own question refused, it would be taken for a broken one.
    let place = if marked { None } else { Some(shared.limits.enter().ok_or_else(|| busy(&shared.limits))?) };
    let (body, _room) = read(&parts.headers, body, &shared.limits, marked).await?;
    let answer = mcp.handle(Request::from_parts(parts, Full::new(body.clone()))).await.map(Body::new);
    Ok(held(rewritten(answer, &body).await, place).await)
}

/// An answer keeps its place until it is written: until then it lies in memory, however slowly its client reads.
async fn held(response: Response, place: Option<InFlight>) -> Response {
    let Some(place) = place else { return response };
    let streams = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    if streams {
        return response.map(|body| {
            Body::new(body.map_frame(move |frame| {
                let _held = &place;
                frame
            }))
        });
    }
    // The body is dropped when its bytes are handed to the connection, the bytes when they are written.
    let (parts, body) = response.into_parts();
    match to_bytes(body, usize::MAX).await {
        Ok(bytes) => Response::from_parts(parts, Bytes::from_owner(Held { bytes, _place: place }).into()),
        Err(failure) => {
            tracing::error!(%failure, "an answer broke off");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Bytes of an answer with the place of its request.
struct Held {
    bytes: Bytes,
    _place: InFlight,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Too many requests are being served; this one has not been looked at.
fn busy(limits: &Limits) -> Response {
    come_back(&format!(
        "this server is serving {} requests at a time already, which is its limit (listen.maxInFlight)",
        limits.max_in_flight()
    ))
}

/// The bodies of other requests take all the memory there is for them.
fn full(limits: &Limits) -> Response {
    come_back(&format!(
        "the bodies of the requests that this server is serving take {} bytes already, which is its limit (32 times \
         listen.maxBodyBytes)",
        limits.max_held_bytes()
    ))
}

fn come_back(why: &str) -> Response {
    let message = format!("{why}; nothing was done, so try again in a second");
    let mut response = error(StatusCode::SERVICE_UNAVAILABLE, -32603, &message);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// What a caller is told who may not call.
fn refused(refusal: &Refusal) -> Response {
    let (code, challenge) = match refusal {
        Refusal::NoKey => (StatusCode::UNAUTHORIZED, Some("Bearer realm=\"mcp-system\"")),
        Refusal::UnknownKey => {
            (StatusCode::UNAUTHORIZED, Some("Bearer realm=\"mcp-system\", error=\"invalid_token\""))
        }
        Refusal::BadTenant | Refusal::BadAgents => (StatusCode::BAD_REQUEST, None),
        Refusal::Remote | Refusal::OtherTenant { .. } => (StatusCode::FORBIDDEN, None),
    };
    let mut response = error(code, -32600, &refusal.to_string());
    if let Some(challenge) = challenge {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    response
}

/// What a browser learns when it asks before a request.
fn parts_allowed(origin: Option<&HeaderValue>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ALLOW, HeaderValue::from_static("POST, OPTIONS"));
    if origin.is_some() {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST, OPTIONS"));
        headers.insert(
            ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static(
                "accept, authorization, content-type, last-event-id, mcp-agents, mcp-method, mcp-name, \
                 mcp-protocol-version, mcp-session-id, mcp-tenant, traceparent, tracestate",
            ),
        );
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    }
    headers
}

/// The whole body, bounded in size and in time, with the room that it takes. The server's own question is always heard.
async fn read(
    headers: &HeaderMap,
    mut body: Body,
    limits: &Limits,
    own: bool,
) -> Result<(Bytes, Room), Response> {
    let limit = limits.max_body_bytes();
    let too_large = || {
        let message = format!("the request's body is larger than {limit} bytes");
        error(StatusCode::PAYLOAD_TOO_LARGE, -32600, &message)
    };
    let told = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if told.is_some_and(|length: usize| length > limit) {
        return Err(too_large());
    }
    let whole = async {
        let (mut bytes, mut room) = (Vec::<u8>::new(), limits.room());
        while let Some(frame) = body.frame().await {
            let broke_off = |_| error(StatusCode::BAD_REQUEST, -32600, "the request's body broke off");
            let Ok(data) = frame.map_err(broke_off)?.into_data() else { continue };
            if bytes.len() + data.len() > limit {
                return Err(too_large());
            }
            if !room.grow(data.len()) && !own {
                return Err(full(limits));
            }
            bytes.extend_from_slice(&data);
        }
        Ok((Bytes::from(bytes), room))
    };
    match tokio::time::timeout(BODY_DEADLINE, whole).await {
        Ok(read) => read,
        Err(_) => Err(error(StatusCode::REQUEST_TIMEOUT, -32600, "the request's body took too long")),
    }
}

/// The SDK refuses some requests with plain text; clients of MCP expect JSON-RPC.
async fn rewritten(response: Response, body: &Bytes) -> Response {
    let code = response.status();
    let json = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if json || !(code.is_client_error() || code.is_server_error()) {
        return response;
    }
    let (mut parts, text) = response.into_parts();
    let Ok(text) = to_bytes(text, ERROR_TEXT_BYTES).await else { return code.into_response() };
    let text = String::from_utf8_lossy(&text);
    let unreadable = code == StatusCode::UNSUPPORTED_MEDIA_TYPE && text.starts_with("fail to deserialize");
    let (code, number) = match code {
        _ if unreadable && serde_json::from_slice::<IgnoredAny>(body).is_err() => {
            (StatusCode::BAD_REQUEST, -32700)
        }
        _ if unreadable => (StatusCode::BAD_REQUEST, -32600),
        code if code.is_server_error() => (code, -32603),
        code => (code, -32600),
    };
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.remove(CONTENT_TYPE);
    let mut response = error(code, number, &text);
    response.headers_mut().extend(parts.headers);
    response
}

fn error(code: StatusCode, number: i32, message: &str) -> Response {
    let body = json!({"jsonrpc": "2.0", "id": null, "error": {"code": number, "message": message}});
    (code, Json(body)).into_response()
}
