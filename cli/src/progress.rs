//! How far a long work is, on standard error: one line that changes on a terminal, a line every few seconds elsewhere.

use mcp_system_memory::backup::Counts;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often a terminal shows it anew.
const ON_TERMINAL: Duration = Duration::from_millis(200);
/// How often anything else gets a line.
const ELSEWHERE: Duration = Duration::from_secs(5);
/// Back to the start of the line, which becomes empty.
const CLEAR: &str = "\r\x1b[K";

/// A work on memories, messages and sessions. What it shows on a terminal is gone once it is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    doing: &'static str,
    of: Option<Counts>,
    shown: Instant,
    terminal: bool,
}

impl Progress {
    /// Of a work that begins now, on so many of them when that is known.
    pub(crate) fn new(doing: &'static str, of: Option<Counts>) -> Self {
        Self { doing, of, shown: Instant::now(), terminal: std::io::stderr().is_terminal() }
    }

    /// Shows how much is done, if it is time.
    pub(crate) fn show(&mut self, done: Counts) {
        if self.shown.elapsed() < if self.terminal { ON_TERMINAL } else { ELSEWHERE } {
            return;
        }
        self.shown = Instant::now();
        let line = line(self.doing, done, self.of);
        // Nothing depends on its being seen.
        let _ = if self.terminal {
            write!(std::io::stderr(), "{CLEAR}{line}")
        } else {
            writeln!(std::io::stderr(), "{line}")
        };
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal {
            let _ = write!(std::io::stderr(), "{CLEAR}");
        }
    }
}

fn line(doing: &str, done: Counts, of: Option<Counts>) -> String {
    let part = |done: u64, of: Option<u64>| of.map_or(done.to_string(), |all| format!("{done} of {all}"));
    let entries = part(done.entries, of.map(|of| of.entries));
    let sessions = part(done.sessions, of.map(|of| of.sessions));
    format!("{doing}: {entries} memories and messages, {sessions} sessions")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_how_much_of_how_much() {
        let done = Counts { entries: 500, sessions: 2 };
        assert_eq!(line("exporting", done, None), "exporting: 500 memories and messages, 2 sessions");
        let of = Some(Counts { entries: 1000, sessions: 2 });
        assert_eq!(
            line("importing", done, of),
            "importing: 500 of 1000 memories and messages, 2 of 2 sessions"
        );
    }
}
