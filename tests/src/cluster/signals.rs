//! Ctrl-C and SIGTERM tear the cluster down.

use std::sync::Once;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

use super::teardown;

static WATCHING: Once = Once::new();

/// From now on these signals end the cluster, then the process, with the status that a shell gives for them.
pub(crate) fn tear_down_on_signal() -> Result<()> {
    if WATCHING.is_completed() {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("cannot watch for signals")?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        let watch = |kind| signal(kind).context("cannot watch for signals");
        (watch(SignalKind::interrupt())?, watch(SignalKind::terminate())?)
    };
    WATCHING.call_once(|| {
        std::thread::spawn(move || {
            let status = runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => 130,
                    _ = terminate.recv() => 143,
                }
            });
            eprintln!("cluster: interrupted, tearing down");
            if let Err(error) = teardown::everything_interrupted() {
                eprintln!("cluster: not torn down: {error:#}; `cargo cluster down` tries again");
            }
            std::process::exit(status);
        });
    });
    Ok(())
}
