//! `up`: starts a system, or brings a running one up to its file.

use super::wait::{failure, here, there};
use super::{environment, home};
use crate::control::{Request, Response, ask, line_of};
use crate::directories::Directories;
use crate::order::Order;
use crate::report::{Report, Settled};
use crate::run::Run;
use crate::supervise::Changes;
use crate::tail::Tail;
use crate::terminal::Terminal;
use crate::{choose, view};
use anyhow::{Context, bail};
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// How often logs are looked at for news.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Starts a system and follows it until Ctrl-C, or leaves it in the background.
pub async fn up(file: Option<&Path>, detach: bool) -> anyhow::Result<ExitCode> {
    let since = Instant::now();
    let order = Order::read(file)?;
    let directories = Directories::new(&home()?, order.name(), &environment)?;
    let mut terminal = Terminal::new();
    if environment("MCP_CPU_QUOTA").is_some_and(|quota| !quota.is_empty()) {
        terminal.line("MCP_CPU_QUOTA is held for images; processes on this machine are not limited")?;
    }
    if let Some(known) = Directories::known(&home()?, order.name()).filter(choose::is_supervised) {
        return renew(&known, order, &mut terminal, since).await;
    }
    let program = std::env::current_exe().context("this program's own path cannot be told")?;
    if detach {
        let name = order.name().to_owned();
        let order = line_of(&order)?;
        let launched = tokio::task::spawn_blocking(move || launch(&program, &name, &order)).await?;
        launched?;
        let report = there(&directories, &mut terminal, since, is_settled).await?;
        return conclude(&report, &mut terminal, since);
    }
    let name = order.name().to_owned();
    match Run::start(directories, program, order).await? {
        Some((run, _)) => follow(run, &mut terminal, since).await,
        None => bail!("{name} is being started by another command right now"),
    }
}

/// The supervisor in the background: the order comes in on standard input, one line of answer goes out.
pub async fn supervise(name: &str) -> anyhow::Result<ExitCode> {
    // Away from the terminal, so that closing it ends nothing. It fails only where that is so already.
    let _ = nix::unistd::setsid();
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("the order cannot be read")?;
    let order: Order = serde_json::from_str(&text).context("the order cannot be understood")?;
    let directories = Directories::new(&home()?, name, &environment)?;
    let program = std::env::current_exe().context("this program's own path cannot be told")?;
    let started = Run::start(directories, program, order).await;
    let response = match &started {
        Ok(Some((_, changes))) => Response::Applied(changes.clone()),
        Ok(None) => Response::Error(format!("{name} is being started by another command right now")),
        Err(error) => Response::Error(format!("{error:#}")),
    };
    // Whoever asked may be gone; what was started goes on.
    let _ = std::io::stdout().write_all(line_of(&response)?.as_bytes());
    let Ok(Some((mut run, _))) = started else { return Ok(ExitCode::FAILURE) };
    run.until_stop().await;
    run.end().await;
    Ok(ExitCode::SUCCESS)
}

/// Starts the supervisor in the background and hears whether it could start the system.
fn launch(program: &Path, name: &str, order: &str) -> anyhow::Result<Changes> {
    let directories = Directories::new(&home()?, name, &environment)?;
    directories.create()?;
    let path = directories.log("supervisor");
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("{} cannot be written", path.display()))?;
    let mut child = Command::new(program)
        .args(["supervise", name])
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .context("the supervisor cannot be started")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(order.as_bytes()).context("the supervisor does not take its order")?;
    }
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line).context("the supervisor does not answer")?;
    }
    match serde_json::from_str(&line) {
        Ok(Response::Applied(changes)) => Ok(changes),
        Ok(Response::Error(message)) => bail!("{message}"),
        _ => bail!("the supervisor ended before it answered; its log is {}", path.display()),
    }
}

/// Brings a system that runs already up to its file.
async fn renew(
    directories: &Directories,
    order: Order,
    terminal: &mut Terminal,
    since: Instant,
) -> anyhow::Result<ExitCode> {
    let name = order.name().to_owned();
    let request = Request::Apply(Box::new(order));
    let Some(Response::Applied(changes)) = ask(&directories.socket, &request).await? else {
        bail!("{name} is being started or stopped by another command right now");
    };
    if changes == Changes::default() {
        terminal.line(&format!("{name} runs already, and nothing has changed"))?;
    } else {
        terminal.line(&format!("{name} runs already; {}", told(&changes)))?;
    }
    let report = there(directories, terminal, since, is_settled).await?;
    conclude(&report, terminal, since)
}

/// What was changed, in words.
fn told(changes: &Changes) -> String {
    let Changes { started, replaced, reloaded, stopped } = changes;
    [("started", started), ("restarted", replaced), ("given new settings", reloaded), ("stopped", stopped)]
        .iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| format!("{what}: {}", names.join(", ")))
        .collect::<Vec<_>>()
        .join("; ")
}

fn is_settled(report: &Report) -> bool {
    report.settled() != Settled::NotYet
}

/// Says how a start in the background went.
fn conclude(report: &Report, terminal: &mut Terminal, since: Instant) -> anyhow::Result<ExitCode> {
    if report.ready {
        terminal.write(&view::ready(report, since.elapsed(), terminal.style))?;
        terminal.line("`mcp-system status`, `logs -f` and `down` are about what runs now")?;
        return Ok(ExitCode::SUCCESS);
    }
    if report.is_suspended() {
        terminal.line(&failure(report)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    bail!("{}\nthe other servers go on running; `mcp-system down` stops them", failure(report)?)
}

/// Shows a system until Ctrl-C, or until somebody stops it.
async fn follow(mut run: Run, terminal: &mut Terminal, since: Instant) -> anyhow::Result<ExitCode> {
    let supervisor = run.supervisor.clone();
    let shown = tokio::select! {
        shown = show(&supervisor, terminal, since) => Some(shown),
        () = run.until_stop() => None,
    };
    terminal.line("\nending; Ctrl-C again ends at once")?;
    let ending = Instant::now();
    run.end().await;
    // An error of the terminal is told only now: whatever it was, no server is left behind.
    if let Some(error) = shown {
        error?;
    }
    terminal.line(&format!("every server has ended, after {}", view::duration(ending.elapsed())))?;
    Ok(ExitCode::SUCCESS)
}

/// Shows progress, then how to connect, then logs. Ends only with an error.
async fn show(
    supervisor: &crate::supervise::Supervisor,
    terminal: &mut Terminal,
    since: Instant,
) -> anyhow::Result<()> {
    let mut tail = Tail::default();
    let mut followed: Vec<(String, PathBuf)> = Vec::new();
    let report = here(supervisor, terminal, since).await?;
    if report.ready {
        terminal.write(&view::ready(&report, since.elapsed(), terminal.style))?;
    } else {
        terminal.line(&format!("{}\nthe other servers go on running", failure(&report)?))?;
    }
    terminal.line("following the logs; Ctrl-C stops every server\n")?;
    loop {
        let logs = logs_of(&supervisor.report());
        if logs != followed {
            tail = Tail::new(&logs, terminal.style);
            followed = logs;
        }
        let news = tail.news()?;
        if !news.is_empty() {
            terminal.write(&news)?;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The logs of a system: the supervisor's own, which tells of starts and ends, and those of its servers.
pub(super) fn logs_of(report: &Report) -> Vec<(String, PathBuf)> {
    let servers = report.servers.iter().filter_map(|server| Some((server.name.clone(), server.log.clone()?)));
    servers.chain([("supervisor".to_owned(), report.logs.join("supervisor.log"))]).collect()
}
