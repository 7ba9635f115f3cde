//! `logs`: what servers have written, and what they go on to write.

use super::home;
use crate::choose::{Choice, choose_known};
use crate::directories::Directories;
use crate::tail::Tail;
use crate::terminal::Terminal;
use anyhow::bail;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// How often logs are looked at for news.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What to print of logs.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    /// Of which server; of all without one.
    pub server: Option<String>,
    /// Whether to go on with what is added.
    pub follow: bool,
    /// How many of the last lines of each.
    pub lines: usize,
}

/// Prints logs, also those of a system that no longer runs.
pub async fn logs(choice: &Choice, options: &LogOptions) -> anyhow::Result<ExitCode> {
    let chosen = choose_known(&home()?, choice)?;
    let mut logs = written(&chosen.directories);
    if let Some(server) = &options.server {
        let names: Vec<String> = logs.iter().map(|(name, _)| name.clone()).collect();
        logs.retain(|(name, _)| name == server);
        if logs.is_empty() {
            bail!("there is no log of {server:?}; there are those of {}", names.join(", "));
        }
    }
    let mut terminal = Terminal::new();
    let mut tail = Tail::new(&logs, terminal.style);
    terminal.write(&tail.last(options.lines)?)?;
    if !options.follow {
        return Ok(ExitCode::SUCCESS);
    }
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        // A server that was started meanwhile is followed as well.
        let now = written(&chosen.directories);
        if options.server.is_none() && now.len() > logs.len() {
            tail = Tail::new(&now, terminal.style);
            logs = now;
        }
        let news = tail.news()?;
        if !news.is_empty() {
            terminal.write(&news)?;
        }
    }
}

/// The logs that are there, by server.
fn written(directories: &Directories) -> Vec<(String, PathBuf)> {
    let mut logs: Vec<_> = std::fs::read_dir(&directories.logs)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            Some((path.file_name()?.to_str()?.strip_suffix(".log")?.to_owned(), path))
        })
        .collect();
    logs.sort();
    logs
}
