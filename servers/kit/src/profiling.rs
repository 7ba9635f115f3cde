//! Profiles of a running server: where its time goes, what holds its memory, how busy its runtime is.
//!
//! They have a listener of their own on 127.0.0.1, whatever address the server has, so that no network reaches them:
//! `kubectl port-forward` does. It is there only while the settings want it, which may change as the server runs.
//! This room must not know MCP, nor any caller: who is on this machine may ask.

mod cpu;
mod heap;

use crate::health::Health;
use crate::listener::{Ends, accept};
use crate::metrics::Metrics;
use crate::reload::Common;
use axum::Router;
use axum::extract::Request;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HOST};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use mcp_system_config::Profiling;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// Connections at a time; it is one person who looks.
const CONNECTIONS: u32 = 16;

/// What is said to who gets no profile.
type Refused = (StatusCode, String);

/// Offers profiles whenever the settings want it, for as long as it is polled.
pub(crate) async fn serve(
    mut changes: watch::Receiver<Arc<Common>>,
    own_port: u16,
    metrics: Metrics,
    health: Arc<Health>,
) {
    loop {
        let wanted = changes.borrow_and_update().profiling.clone();
        let otherwise = async {
            while changes.changed().await.is_ok() {
                if changes.borrow_and_update().profiling != wanted {
                    return;
                }
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = otherwise => {
                health.set_profiling(None);
                if wanted.enabled {
                    heap::stop().await;
                }
            }
            () = offer(&wanted, own_port, metrics.clone(), &health) => {}
        }
    }
}

/// Offers profiles, if that is wanted, until it is dropped. A port that is taken is told, and ends nothing.
async fn offer(wanted: &Profiling, own_port: u16, metrics: Metrics, health: &Health) {
    if wanted.enabled {
        heap::start().await;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, wanted.port_beside(own_port)));
        match TcpListener::bind(address).await {
            Ok(listener) => {
                let address = listener.local_addr().unwrap_or(address);
                tracing::info!(%address, "profiles are offered");
                health.set_profiling(Some(address.to_string()));
                let ends = Ends::default();
                let _ended = (ends.closed.clone().drop_guard(), ends.cut_off.clone().drop_guard());
                return accept(listener, router(), metrics, CONNECTIONS, ends, TaskTracker::new()).await;
            }
            Err(error) => {
                tracing::error!(%address, %error, "no profiles are offered: choose another profiling.port");
                health.set_profiling(Some(format!("not offered: {address} cannot be bound: {error}")));
            }
        }
    }
    std::future::pending::<()>().await;
}

fn router() -> Router {
    Router::new()
        .route("/debug/pprof/profile", get(cpu::profile))
        .route("/debug/pprof/heap", get(heap::profile))
        .route("/debug/tokio", get(runtime))
        .layer(from_fn(addressed_here))
}

/// A web page that had its own name resolved to this machine is turned away by the name.
async fn addressed_here(request: Request, next: Next) -> Response {
    if is_local(request.headers()) {
        return next.run(request).await;
    }
    (StatusCode::FORBIDDEN, "profiles are for this machine: ask for them under 127.0.0.1 or localhost\n")
        .into_response()
}

fn is_local(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    host.is_some_and(|host| matches!(host.host(), "127.0.0.1" | "localhost" | "[::1]"))
}

/// What tokio tells of itself.
async fn runtime() -> Json<Value> {
    let metrics = Handle::current().metrics();
    let workers: Vec<_> = (0..metrics.num_workers())
        .map(|worker| {
            json!({
                "busy_seconds": metrics.worker_total_busy_duration(worker).as_secs_f64(),
                "parks": metrics.worker_park_count(worker),
                // Counted up both when it parks and when it goes on.
                "parked": metrics.worker_park_unpark_count(worker) % 2 == 1,
            })
        })
        .collect();
    Json(json!({
        "alive_tasks": metrics.num_alive_tasks(),
        "global_queue_depth": metrics.global_queue_depth(),
        "workers": workers,
    }))
}

/// A profile in pprof's format.
fn pprof_file(name: &str, bytes: Vec<u8>) -> Response {
    let headers = [
        (CONTENT_TYPE, "application/octet-stream".to_owned()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.pb.gz\"")),
    ];
    (headers, bytes).into_response()
}

fn failed(error: impl std::fmt::Display) -> Refused {
    (StatusCode::INTERNAL_SERVER_ERROR, format!("there is no profile: {error}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn only_names_of_this_machine_are_local() {
        let asked =
            |host: &'static str| is_local(&[(HOST, HeaderValue::from_static(host))].into_iter().collect());
        for host in ["127.0.0.1", "127.0.0.1:18003", "localhost:6060", "[::1]:6060"] {
            assert!(asked(host), "{host}");
        }
        for host in ["", "example.com", "localhost.example.com:18003", "10.0.0.1:18003"] {
            assert!(!asked(host), "{host}");
        }
        assert!(!is_local(&HeaderMap::new()));
    }
}
