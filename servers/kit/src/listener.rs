//! Connections: accepted, served, and ended in order.

use crate::metrics::Metrics;
use crate::stalled::Impatient;
use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

/// How long a connection may take for a request's headers, and lie idle between two requests. Longer than
/// the 60 seconds of common proxies, so that they close first and no request meets a closing.
const HEADERS_DEADLINE: Duration = Duration::from_secs(75);
/// How long an answer may wait for its client to read enough of it, or all: less than 5 KiB a second is as good as
/// nothing.
const READ_DEADLINE: Duration = Duration::from_mins(1);
const READ_ENOUGH: usize = 256 << 10;
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

/// Where the other end of a connection is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// Whether it is this machine.
    pub(crate) local: bool,
}

/// Serves every connection until `ends.closed`. The tracker is empty when the last one is done.
pub(crate) async fn accept(
    listener: TcpListener,
    router: Router,
    metrics: Metrics,
    max_connections: u32,
    ends: Ends,
    tracker: TaskTracker,
) {
    let places = Arc::new(Semaphore::new(max_connections.max(1) as usize));
    loop {
        // Those beyond the limit wait in the system's own queue, which costs no memory here.
        let place = tokio::select! {
            () = ends.closed.cancelled() => break,
            place = places.clone().acquire_owned() => place,
        };
        let (stream, address) = tokio::select! {
            () = ends.closed.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let peer = Peer { local: address.ip().to_canonical().is_loopback() };
        let served = connection(stream, peer, router.clone(), metrics.clone(), ends.clone());
        tracker.spawn(async move {
            served.await;
            drop(place);
        });
    }
    tracker.close();
}

async fn connection(stream: TcpStream, peer: Peer, router: Router, metrics: Metrics, ends: Ends) {
    let _counted = metrics.connection();
    // Without this, small replies in several pieces wait 40 ms for an acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection closed before it was served");
        return;
    }
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        router.clone().call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_DEADLINE)
        .serve_connection(TokioIo::new(Impatient::new(stream, READ_DEADLINE, READ_ENOUGH)), service);
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
