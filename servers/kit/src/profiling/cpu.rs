//! Where processor time goes: every ten milliseconds of it, the stack of the thread that spent it is noted.

use super::{Refused, failed, pprof_file};
use axum::extract::Query;
use axum::http::StatusCode;
use axum::response::Response;
use pprof::{ProfilerGuard, ProfilerGuardBuilder, UnresolvedReport};
use pprof_util::{StackProfile, WeightedStack};
use serde::Deserialize;
use std::ops::RangeInclusive;
use std::time::Duration;
use tokio::task::spawn_blocking;

/// How long a profile may take; Go's own default, and as long as anyone waits.
const SECONDS: RangeInclusive<u64> = 1..=60;
const DEFAULT_SECONDS: u64 = 30;
/// Samples in a second of processor time: not 100, so as not to keep time with what happens every 10 ms.
const FREQUENCY: i32 = 99;
/// What takes the samples; it and what returns from it are not of the server.
const HANDLER: &[u8] = b"perf_signal_handler";

#[derive(Deserialize)]
pub(super) struct Asked {
    seconds: Option<u64>,
}

/// A profile of the next seconds. There is one at a time, because a process has one timer for it.
pub(super) async fn profile(Query(asked): Query<Asked>) -> Result<Response, Refused> {
    let seconds = asked.seconds.unwrap_or(DEFAULT_SECONDS);
    if !SECONDS.contains(&seconds) {
        let (least, most) = SECONDS.into_inner();
        let told = format!("seconds is {seconds}; it must be from {least} to {most}\n");
        return Err((StatusCode::BAD_REQUEST, told));
    }
    // Its tables take a while to make.
    let started = spawn_blocking(|| ProfilerGuardBuilder::default().frequency(FREQUENCY).build());
    let guard = started.await.map_err(failed)?.map_err(refused)?;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let bytes = spawn_blocking(move || encoded(&guard)).await.map_err(failed)?.map_err(refused)?;
    Ok(pprof_file("profile", bytes))
}

fn refused(error: pprof::Error) -> Refused {
    match error {
        pprof::Error::Running => {
            let told = "another processor profile is being taken; there is one at a time, so try again when it is done\n";
            (StatusCode::CONFLICT, told.to_owned())
        }
        error => failed(error),
    }
}

fn encoded(guard: &ProfilerGuard<'_>) -> Result<Vec<u8>, pprof::Error> {
    let report = guard.report().build_unresolved()?;
    Ok(stacks(&report).to_pprof(("cpu", "nanoseconds"), ("cpu", "nanoseconds"), None))
}

/// The stacks, outermost call first, each weighing its time.
fn stacks(report: &UnresolvedReport) -> StackProfile {
    let mut profile = StackProfile::default();
    // The handler calls for the stack at one place, so one address tells its frame.
    let handler = report.data.keys().flat_map(|sample| &sample.frames).find(|frame| is_handler(frame));
    let handler = handler.map(backtrace::Frame::ip);
    for (sample, count) in &report.data {
        let frames = &sample.frames;
        let first = frames.iter().position(|frame| Some(frame.ip()) == handler).map_or(0, |place| place + 2);
        let mut addrs: Vec<usize> =
            frames.iter().skip(first).map(|frame| frame.ip().addr()).filter(|address| *address > 0).collect();
        // The others are where a call returns to, which names are looked up a step before, twice. This one is not.
        if let Some(leaf) = addrs.first_mut() {
            *leaf += 2;
        }
        addrs.reverse();
        #[allow(clippy::cast_precision_loss, reason = "at most some thousand samples")]
        let weight = *count as f64 * 1e9 / f64::from(FREQUENCY);
        profile.push_stack(WeightedStack { addrs, weight }, None);
    }
    profile
}

fn is_handler(frame: &backtrace::Frame) -> bool {
    let mut found = false;
    backtrace::resolve_frame(frame, |symbol| {
        found |= symbol.name().is_some_and(|name| name.as_bytes() == HANDLER);
    });
    found
}
