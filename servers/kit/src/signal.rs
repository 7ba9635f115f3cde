//! The signals that end a server.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Resolves on SIGTERM or SIGINT. A second one ends the process at once: whoever sends it is tired of waiting.
///
/// The signals are taken from the moment this is called, not from the first poll, so that one which arrives
/// during the start is not lost.
pub fn shutdown_signal() -> impl Future<Output = ()> + Send + 'static {
    let signals =
        signal(SignalKind::terminate()).and_then(|term| Ok((term, signal(SignalKind::interrupt())?)));
    async move {
        match signals {
            Ok((mut term, mut interrupt)) => {
                let name = next(&mut term, &mut interrupt).await.0;
                tracing::info!(signal = name, "ending; a second signal ends at once");
                tokio::spawn(async move {
                    let (name, code) = next(&mut term, &mut interrupt).await;
                    tracing::warn!(signal = name, "ended at once by a second signal");
                    std::process::exit(code);
                });
            }
            Err(error) => {
                // Without handlers the signals' own effect stays: they end the process.
                tracing::warn!(%error, "signals cannot be taken; they end this process at once");
                std::future::pending::<()>().await;
            }
        }
    }
}

/// The signal that came, and the exit code which says so.
async fn next(term: &mut Signal, interrupt: &mut Signal) -> (&'static str, i32) {
    tokio::select! {
        _ = term.recv() => ("SIGTERM", 128 + 15),
        _ = interrupt.recv() => ("SIGINT", 128 + 2),
    }
}
