//! What a person sees. Pure: reports go in, text comes out; this must not know files, processes or time.

use crate::report::{Report, ServerReport, State};
use mcp_system_crds::ConditionType;
use std::fmt::Write as _;
use std::time::Duration;

/// How text may look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Style {
    /// Whether colours may be used.
    pub(crate) colour: bool,
}

#[derive(Clone, Copy)]
enum Paint {
    Good = 32,
    Bad = 31,
    Busy = 33,
    Dim = 2,
    Strong = 1,
}

impl Style {
    fn paint(self, paint: Paint, text: &str) -> String {
        if self.colour { format!("\x1b[{}m{text}\x1b[0m", paint as u8) } else { text.to_owned() }
    }

    fn state(self, state: State, text: &str) -> String {
        let paint = match state {
            State::Ready => Paint::Good,
            State::Failed => Paint::Bad,
            State::Starting | State::NotReady | State::Restarting | State::Stopping => Paint::Busy,
            State::Stopped | State::LeftOut => Paint::Dim,
        };
        self.paint(paint, text)
    }
}

/// One line a server: how far it is and since when. `elapsed` is the time since the command was given.
pub(crate) fn progress(report: &Report, elapsed: Duration, style: Style) -> Vec<String> {
    let width = name_width(report);
    report.servers.iter().map(|server| progress_line(server, width, elapsed, style)).collect()
}

/// One server's line of progress.
pub(crate) fn progress_line(server: &ServerReport, width: usize, elapsed: Duration, style: Style) -> String {
    let (mark, paint) = match server.state {
        State::Ready => ("✓", Paint::Good),
        State::Failed => ("✗", Paint::Bad),
        State::LeftOut | State::Stopped => ("-", Paint::Dim),
        _ => ("…", Paint::Busy),
    };
    let time = match (server.state, server.ready_after_milliseconds) {
        (State::Ready, Some(milliseconds)) => duration(Duration::from_millis(milliseconds)),
        (State::LeftOut | State::Stopped | State::Ready, _) => String::new(),
        _ => duration(elapsed),
    };
    let state = style.state(server.state, &format!("{:<10}", server.state.name()));
    let mut line = format!("  {} {:<width$}  {state}  {time:>8}", style.paint(paint, mark), server.name);
    let detail = match (server.state, server.tools, &server.message) {
        (State::Ready, Some(tools), _) => format!("{tools} tools"),
        (State::Failed | State::LeftOut | State::Restarting, _, Some(message)) => message.clone(),
        _ => String::new(),
    };
    if !detail.is_empty() {
        let _ = write!(line, "  {}", style.paint(Paint::Dim, &detail));
    }
    line.trim_end().to_owned()
}

/// The width of the longest name.
pub(crate) fn name_width(report: &Report) -> usize {
    report.servers.iter().map(|server| server.name.len()).max().unwrap_or_default()
}

/// What to say when a system is ready: where it is and how a client reaches it.
pub(crate) fn ready(report: &Report, elapsed: Duration, style: Style) -> String {
    let heading = format!("{} is ready in {}", report.name, duration(elapsed));
    let mut text = format!("{}\n", style.paint(Paint::Strong, &heading));
    text.push_str(&connect(report));
    not_mounted(report, &mut text);
    text
}

/// A line for each mount of the file, since nothing is mounted here.
fn not_mounted(report: &Report, text: &mut String) {
    for told in &report.not_mounted {
        let _ = writeln!(text, "  {told}");
    }
}

/// How a client reaches the system.
pub(crate) fn connect(report: &Report) -> String {
    let (header, authentication) = if report.needs_key {
        (" --header \"Authorization: Bearer KEY\"", "a key of your file as bearer token")
    } else {
        ("", "no authentication")
    };
    match &report.url {
        Some(url) => format!(
            "  MCP endpoint  {url}\n  Claude Code   claude mcp add --transport http {name} {url}{header}\n  \
             others        Streamable HTTP, {authentication}\n",
            name = report.name,
        ),
        None => "  no orchestrator runs; each server has an endpoint of its own\n".to_owned(),
    }
}

/// The table of `status`.
pub(crate) fn status(report: &Report, style: Style) -> String {
    let verdict = report.verdict();
    let word = match verdict {
        Some(ready) if !report.ready => format!("not ready: {}", ready.reason),
        _ => "Ready".to_owned(),
    };
    let painted = style.paint(if report.ready { Paint::Good } else { Paint::Bad }, &word);
    let url = report.url.as_deref().unwrap_or("no orchestrator");
    let mut text = format!("{}  {painted}  {url}\n", style.paint(Paint::Strong, &report.name));
    if let Some(file) = &report.file {
        let _ = writeln!(text, "from {}", file.display());
    }
    text.push('\n');
    let mut rows = vec![
        ["NAME", "STATE", "PID", "UPTIME", "RESTARTS", "VERSION", "TOOLS", "MEMORY", "URL"]
            .map(str::to_owned),
    ];
    rows.extend(report.servers.iter().map(row));
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default())
        .collect();
    for (index, row) in rows.iter().enumerate() {
        let state = index.checked_sub(1).map(|index| report.servers[index].state);
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, width))| {
                let padded = format!("{cell:<width$}");
                match state {
                    Some(state) if column == 1 => style.state(state, &padded),
                    Some(_) => padded,
                    None => style.paint(Paint::Dim, &padded),
                }
            })
            .collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    for server in &report.servers {
        if let Some(message) = &server.message {
            let _ = write!(text, "\n{}: {message}", style.state(server.state, &server.name));
        }
    }
    let conditions = [ConditionType::Stalled, ConditionType::Degraded];
    if let Some(condition) = conditions.into_iter().find_map(|type_| report.holds(type_)) {
        let _ = write!(text, "\n{}: {}", style.paint(Paint::Bad, &condition.type_), condition.reason);
        // What stalls a system stands beside its servers already; what is left out of one that runs, nowhere.
        if condition.type_ == ConditionType::Degraded.name() {
            let _ = write!(text, ": {}", condition.message);
        }
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    not_mounted(report, &mut text);
    text
}

fn row(server: &ServerReport) -> [String; 9] {
    let shown = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    [
        server.name.clone(),
        server.state.name().to_owned(),
        shown(server.pid.map(|pid| pid.to_string())),
        shown(server.uptime_seconds.map(|seconds| uptime(Duration::from_secs_f64(seconds.max(0.0))))),
        server.restarts.to_string(),
        shown(server.version.clone()),
        shown(server.tools.map(|tools| tools.to_string())),
        shown(server.memory_bytes.map(|bytes| format!("{} MiB", bytes.div_ceil(1 << 20)))),
        shown(server.url.clone()),
    ]
}

/// The prefix of a server's log line.
pub(crate) fn log_prefix(server: &str, index: usize, width: usize, style: Style) -> String {
    const COLOURS: [u8; 6] = [36, 35, 34, 32, 33, 31];
    let name = format!("{server:<width$} |");
    if style.colour { format!("\x1b[{}m{name}\x1b[0m", COLOURS[index % COLOURS.len()]) } else { name }
}

/// A short time, such as that of a start.
pub(crate) fn duration(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

/// A long time, such as that for which a server runs.
fn uptime(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
