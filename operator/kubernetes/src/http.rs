//! The operator's own health and metrics, over HTTP.
//!
//! `/health` answers 200 once everything was listed, for one that leads and one that waits alike;
//! `/health/live` while the process does anything at all.

use crate::metrics::Metrics;
use crate::watch::Sink;
use anyhow::Context;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tokio::net::TcpListener;

#[derive(Clone)]
struct Shared {
    sink: Sink,
    metrics: Arc<Metrics>,
    started: Instant,
}

/// Listens, so that a busy port is told before anything else happens.
pub(crate) async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("the operator cannot listen on {address}"))
}

/// Serves for ever.
pub(crate) async fn serve(listener: TcpListener, sink: Sink, metrics: Arc<Metrics>) -> anyhow::Result<()> {
    let shared = Shared { sink, metrics, started: Instant::now() };
    let router = Router::new()
        .route("/health", get(health))
        .route("/health/live", get(|| async { Json(json!({"status": "alive"})) }))
        .route("/metrics", get(metrics_text))
        .with_state(shared);
    axum::serve(listener, router).await.context("the operator's HTTP server ended")
}

async fn health(State(shared): State<Shared>) -> Response {
    let is_ready = shared.sink.unsynced.load(Ordering::Acquire) == 0;
    let (code, status) =
        if is_ready { (StatusCode::OK, "healthy") } else { (StatusCode::SERVICE_UNAVAILABLE, "starting") };
    let body = json!({
        "status": status,
        "server_name": "operator",
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": shared.started.elapsed().as_secs(),
        "leader": shared.metrics.leader.get() == 1,
        "systems": shared.sink.cache.systems().len(),
    });
    (code, Json(body)).into_response()
}

async fn metrics_text(State(shared): State<Shared>) -> Response {
    shared.metrics.queue.set(i64::try_from(shared.sink.queue.depth()).unwrap_or(i64::MAX));
    shared.metrics.systems.set(i64::try_from(shared.sink.cache.systems().len()).unwrap_or(i64::MAX));
    let text = shared.metrics.text();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
