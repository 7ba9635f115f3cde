//! `status`: how a system is.

use super::home;
use crate::choose::{Choice, choose, is_supervised};
use crate::terminal::Terminal;
use crate::{control, pids, view};
use anyhow::bail;
use std::process::ExitCode;

/// Prints how a system is. Succeeds only when it is ready.
pub async fn status(choice: &Choice, json: bool) -> anyhow::Result<ExitCode> {
    let Some(chosen) = choose(&home()?, choice)? else {
        bail!("no system runs here; start one with `mcp-system up`");
    };
    let Some(report) = control::status(&chosen.directories.socket).await? else {
        let name = &chosen.name;
        if is_supervised(&chosen.directories) {
            bail!("{name} is being started or stopped right now");
        }
        let left: Vec<String> = pids::left(&chosen.directories.pids)
            .into_iter()
            .map(|(server, recorded)| match &recorded.container {
                Some((_, container)) if !recorded.is_alive() => format!("{server} (container {container})"),
                _ => format!("{server} (process {})", recorded.pid),
            })
            .collect();
        if left.is_empty() {
            bail!("{name} does not run; start it with `mcp-system up`");
        }
        bail!(
            "the supervisor of {name} was killed, and nobody watches {}; \
             `mcp-system up` starts it anew, `mcp-system down` ends what is left",
            left.join(", ")
        );
    };
    let mut terminal = Terminal::new();
    let text = if json {
        format!("{}\n", serde_json::to_string_pretty(&report)?)
    } else {
        view::status(&report, terminal.style)
    };
    terminal.write(&text)?;
    Ok(if report.ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
