//! The signals that end a process.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Resolves on SIGTERM or SIGINT. A second one ends the process at once: whoever sends it is tired of waiting.
///
/// The signals are taken from the moment this is called, not from the first poll, so that one which arrives
/// during the start is not lost.
pub fn shutdown_signal() -> impl Future<Output = ()> + Send + 'static {
    let signals = signals();
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

/// Ends this process at once at SIGTERM or SIGINT, with the exit code which says so: for work that may end at any
/// point. The first process of a container needs it, since there the signals have no effect of their own.
pub fn end_on_signal() {
    // Without handlers the signals' own effect stays.
    if let Ok((mut term, mut interrupt)) = signals() {
        tokio::spawn(async move { std::process::exit(next(&mut term, &mut interrupt).await.1) });
    }
}

fn signals() -> std::io::Result<(Signal, Signal)> {
    Ok((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
}

/// The signal that came, and the exit code which says so.
async fn next(term: &mut Signal, interrupt: &mut Signal) -> (&'static str, i32) {
    tokio::select! {
        _ = term.recv() => ("SIGTERM", 128 + 15),
        _ = interrupt.recv() => ("SIGINT", 128 + 2),
    }
}
