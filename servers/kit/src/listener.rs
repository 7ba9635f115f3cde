//! Connections: accepted, served, and ended in order.

use crate::metrics::Metrics;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a connection may take for a request's headers, and lie idle between two requests. Longer than
/// the 60 seconds of common proxies, so that they close first and no request meets a closing.
const HEADERS_DEADLINE: Duration = Duration::from_secs(75);
/// A pause when no connection can be accepted, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The three moments of an end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ends {
    /// No new connections, no further requests on old ones.
    pub(crate) closed: CancellationToken,
    /// What still runs is cut off.
    pub(crate) cut_off: CancellationToken,
}

/// Serves every connection until `ends.closed`. The tracker is empty when the last one is done.
pub(crate) async fn accept(
    listener: TcpListener,
    router: Router,
    metrics: Metrics,
    ends: Ends,
    tracker: TaskTracker,
) {
    loop {
        let stream = tokio::select! {
            () = ends.closed.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        tracker.spawn(connection(stream, router.clone(), metrics.clone(), ends.clone()));
    }
    tracker.close();
}

async fn connection(stream: TcpStream, router: Router, metrics: Metrics, ends: Ends) {
    let _counted = metrics.connection();
    // Without this, small replies in several pieces wait 40 ms for an acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection closed before it was served");
        return;
    }
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_DEADLINE)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = ends.closed.cancelled() => {
            // Idle connections end now, the others after the request that they are serving.
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                result = connection.as_mut() => result,
                () = ends.cut_off.cancelled() => return,
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}
