//! `down`: ends a system, and whatever is left of one.

use super::home;
use crate::choose::{Choice, choose, is_supervised};
use crate::control::{Request, ask};
use crate::directories::Directories;
use crate::supervise::ORPHANS_GRACE;
use crate::terminal::Terminal;
use crate::{os, pids};
use anyhow::bail;
use nix::sys::signal::Signal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long a supervisor may take to end its servers: the grace periods of the orchestrator and of the
/// others, one after the other.
const STOP_DEADLINE: Duration = Duration::from_secs(75);
/// How long it may take to exit after that, or after a signal that cannot be refused.
const EXIT_DEADLINE: Duration = Duration::from_secs(5);

/// Ends a system. One that does not run is as it should be.
pub async fn down(choice: &Choice) -> anyhow::Result<ExitCode> {
    let mut terminal = Terminal::new();
    let Some(chosen) = choose(&home()?, choice)? else {
        terminal.line("nothing runs")?;
        return Ok(ExitCode::SUCCESS);
    };
    let directories = &chosen.directories;
    let since = Instant::now();
    let was_supervised = is_supervised(directories);
    if was_supervised {
        end_supervisor(directories).await?;
    }
    let pids = directories.pids.clone();
    let ended = tokio::task::spawn_blocking(move || pids::end_orphans(&pids, ORPHANS_GRACE)).await?;
    let name = &chosen.name;
    let time = crate::view::duration(since.elapsed());
    if !ended.names.is_empty() {
        terminal.line(&format!("{name}: ended what was left of it: {}", ended.names.join(", ")))?;
    }
    if !ended.remaining.is_empty() {
        bail!("{name} has not ended: {}", ended.remaining.join("; "));
    }
    terminal.line(&match (was_supervised, ended.names.is_empty()) {
        (false, true) => format!("{name} does not run"),
        _ => format!("{name} has ended, after {time}"),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Asks a supervisor to end; one that does not listen is signalled, one that does not end is killed.
async fn end_supervisor(directories: &Directories) -> anyhow::Result<()> {
    let supervisor = pids::Recorded::read(&directories.pid(pids::SUPERVISOR));
    let signal = |signal| {
        if let Some(supervisor) = supervisor.as_ref().filter(|supervisor| supervisor.is_alive()) {
            os::signal_process(supervisor.pid, signal);
        }
    };
    let asked = tokio::time::timeout(STOP_DEADLINE, ask(&directories.socket, &Request::Stop)).await;
    if !matches!(asked, Ok(Ok(Some(_)))) {
        signal(Signal::SIGTERM);
    }
    let deadline = if asked.is_err() { EXIT_DEADLINE } else { STOP_DEADLINE };
    if is_free_within(directories, deadline).await {
        return Ok(());
    }
    signal(Signal::SIGKILL);
    if !is_free_within(directories, EXIT_DEADLINE).await {
        bail!("the supervisor does not end; {} tells its process", directories.pids.display());
    }
    Ok(())
}

async fn is_free_within(directories: &Directories, time: Duration) -> bool {
    let deadline = Instant::now() + time;
    while is_supervised(directories) {
        if Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    true
}
