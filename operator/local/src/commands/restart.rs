//! `restart`: a new process for one server.

use super::home;
use super::wait::{failure, there};
use crate::choose::{Choice, choose};
use crate::control::{self, Request, ask};
use crate::report::{Report, ServerReport, State};
use crate::terminal::Terminal;
use anyhow::bail;
use std::process::ExitCode;
use std::time::Instant;

/// Ends the process of a server, starts it again, and waits until it is ready.
pub async fn restart(choice: &Choice, server: &str) -> anyhow::Result<ExitCode> {
    let since = Instant::now();
    let Some(chosen) = choose(&home()?, choice)? else {
        bail!("no system runs here; start one with `mcp-system up`");
    };
    let socket = &chosen.directories.socket;
    let Some(before) = control::status(socket).await? else {
        bail!("nobody is in charge of {}; start it with `mcp-system up`", chosen.name);
    };
    let starts = find(&before, server).map_or(0, |server| server.starts);
    ask(socket, &Request::Restart(server.to_owned())).await?;
    let is_done = |report: &Report| {
        find(report, server).is_none_or(|found| {
            found.starts > starts && matches!(found.state, State::Ready | State::Failed | State::Stopped)
        })
    };
    let mut terminal = Terminal::new();
    let report = there(&chosen.directories, &mut terminal, since, is_done).await?;
    if find(&report, server).is_some_and(|server| server.state == State::Ready) {
        terminal.line(&format!("{server} was restarted"))?;
        return Ok(ExitCode::SUCCESS);
    }
    bail!("{}", failure(&report)?)
}

fn find<'a>(report: &'a Report, name: &str) -> Option<&'a ServerReport> {
    report.servers.iter().find(|server| server.name == name)
}
