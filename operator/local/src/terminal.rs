//! Standard output: a terminal on which lines are drawn again in place, or a file or pipe that gets each
//! line once.

use crate::report::{Report, State};
use crate::view::{self, Style};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::Instant;

/// Where a command writes.
#[derive(Debug)]
pub(crate) struct Terminal {
    /// Whether lines that were drawn can be drawn again.
    redraws: bool,
    pub(crate) style: Style,
    /// Lines that the next drawing replaces.
    drawn: usize,
    /// What was told of each server already, where nothing can be drawn again.
    told: BTreeMap<String, State>,
}

impl Terminal {
    pub(crate) fn new() -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let redraws = io::stdout().is_terminal() && !is_dumb;
        let style = Style { colour: redraws && !set("NO_COLOR") };
        Self { redraws, style, drawn: 0, told: BTreeMap::new() }
    }

    /// Writes text as it is; what was drawn before stays above it.
    pub(crate) fn write(&mut self, text: &str) -> io::Result<()> {
        self.drawn = 0;
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Writes one line.
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        self.write(&format!("{text}\n"))
    }

    /// Shows how far the servers are: in place on a terminal, else a line whenever one has come somewhere.
    pub(crate) fn progress(&mut self, report: &Report, since: Instant) -> io::Result<()> {
        let elapsed = since.elapsed();
        if self.redraws {
            let lines = view::progress(report, elapsed, self.style);
            return self.draw(&lines);
        }
        let width = view::name_width(report);
        for server in &report.servers {
            let is_news = self.told.insert(server.name.clone(), server.state) != Some(server.state);
            if is_news && matches!(server.state, State::Ready | State::Failed | State::LeftOut) {
                let line = view::progress_line(server, width, elapsed, self.style);
                self.line(&line)?;
            }
        }
        Ok(())
    }

    fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        let mut text = String::new();
        if self.drawn > 0 {
            let _ = write!(text, "\x1b[{}A", self.drawn);
        }
        // Without wrapping, a long line takes one row, and as many rows are replaced as lines were drawn.
        text.push_str("\x1b[?7l");
        for line in lines {
            let _ = writeln!(text, "\x1b[2K{line}");
        }
        text.push_str("\x1b[J\x1b[?7h");
        self.write(&text)?;
        self.drawn = lines.len();
        Ok(())
    }
}
