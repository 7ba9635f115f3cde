//! Tells the person at the terminal what is under way and how long it takes.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::Result;

/// Says what is done, does it, says how long it took.
pub(crate) fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    let result = work();
    let seconds = started.elapsed().as_secs_f32();
    match &result {
        Ok(_) => eprintln!("cluster: {what} ({seconds:.1} s)"),
        Err(_) => eprintln!("cluster: {what} FAILED ({seconds:.1} s)"),
    }
    result
}

/// A line that is rewritten on a terminal, and repeated only now and then in a log.
pub(crate) struct Ticker {
    what: String,
    started: Instant,
    shown: Option<Instant>,
}

impl Ticker {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        let ticker = Self { what: what.into(), started: Instant::now(), shown: None };
        eprintln!("cluster: {} ...", ticker.what);
        ticker
    }

    /// Shows how far the work is, if it is time to.
    pub(crate) fn tick(&mut self, detail: &str) {
        let terminal = std::io::stderr().is_terminal();
        let every = Duration::from_secs(if terminal { 1 } else { 30 });
        if self.shown.unwrap_or(self.started).elapsed() < every {
            return;
        }
        self.shown = Some(Instant::now());
        let line = format!("cluster: {} {detail}, {} s", self.what, self.started.elapsed().as_secs());
        if terminal {
            // Back to the line's start, then clear to its end. Progress is never worth an error.
            let _ = write!(std::io::stderr(), "\r{line}\x1b[K");
        } else {
            eprintln!("{line}");
        }
    }

    /// Closes the line.
    pub(crate) fn done(self, word: &str) {
        if std::io::stderr().is_terminal() && self.shown.is_some() {
            eprintln!();
        }
        eprintln!("cluster: {} {word} ({} s)", self.what, self.started.elapsed().as_secs());
    }
}
