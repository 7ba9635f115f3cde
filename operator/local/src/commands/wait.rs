//! Waits until a system has become what was asked for, and shows how far it is.

use crate::control;
use crate::directories::Directories;
use crate::report::{Report, Settled, State};
use crate::supervise::Supervisor;
use crate::tail::last_lines;
use crate::terminal::Terminal;
use anyhow::{Context, bail};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// How often a drawing on a terminal is renewed, and a supervisor in another process is asked.
const REDRAW: Duration = Duration::from_millis(100);
const ASK_EVERY: Duration = Duration::from_millis(10);
/// Log lines that are shown of a server that failed.
const LAST_LINES: usize = 10;

/// Waits for a supervisor in this process.
pub(super) async fn here(
    supervisor: &Supervisor,
    terminal: &mut Terminal,
    since: Instant,
) -> anyhow::Result<Report> {
    let mut changes = supervisor.changes();
    loop {
        changes.mark_unchanged();
        let report = supervisor.report();
        terminal.progress(&report, since)?;
        if report.settled() != Settled::NotYet {
            return Ok(report);
        }
        // At the end of either the report is looked at again.
        let _ = tokio::time::timeout(REDRAW, changes.changed()).await;
    }
}

/// Waits for a supervisor in another process, until `is_done` says that it is as it should be.
pub(super) async fn there(
    directories: &Directories,
    terminal: &mut Terminal,
    since: Instant,
    is_done: impl Fn(&Report) -> bool,
) -> anyhow::Result<Report> {
    loop {
        let Some(report) = control::status(&directories.socket).await? else {
            let log = directories.log("supervisor");
            let lines = last_lines(&log, LAST_LINES).unwrap_or_default();
            bail!("the supervisor ended; the end of {}:\n{}", log.display(), lines.join("\n"));
        };
        terminal.progress(&report, since)?;
        if is_done(&report) {
            return Ok(report);
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// What keeps a system from being ready, with the end of the log of each server that failed.
pub(super) fn failure(report: &Report) -> anyhow::Result<String> {
    if report.is_suspended() {
        return Ok(report.verdict().map(|ready| ready.message.clone()).unwrap_or_default());
    }
    let mut text = format!("{} is not ready", report.name);
    for told in &report.not_mounted {
        let _ = write!(text, "\n  {told}");
    }
    for server in report.servers.iter().filter(|server| server.state == State::Failed) {
        let message = server.message.as_deref().unwrap_or("failed");
        let _ = write!(text, "\n  {}: {message}", server.name);
        // One that was never started has nothing to say.
        let Some(log) = server.log.as_ref().filter(|_| server.starts > 0) else { continue };
        let lines =
            last_lines(log, LAST_LINES).with_context(|| format!("{} cannot be read", log.display()))?;
        if !lines.is_empty() {
            let _ = write!(text, "\n  the end of {}:", log.display());
        }
        for line in lines {
            let _ = write!(text, "\n    {line}");
        }
    }
    Ok(text)
}
