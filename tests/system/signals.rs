//! The first process of a container gets no signal that it has not asked for: what waits there must ask from the
//! start, or a pod that goes stays until it is killed. Real processes, each the first of its own namespace.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mcp_system_tests::laptop::binary;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use tempfile::TempDir;

use crate::group::{Group, Scenario, same};

/// How long anything may take. A database that is silent for longer ends the program without a signal.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn group() -> Group {
    let scenarios = vec![
        Scenario::new("a_server_ends_while_its_database_is_silent", || {
            ends_beside_a_silent_database(&["serve", "memory", "--bind", "127.0.0.1", "--port", "0"], 0)
        }),
        Scenario::new("a_move_ends_while_its_database_is_silent", || {
            ends_beside_a_silent_database(&["memory", "move"], 128 + Signal::SIGTERM as i32)
        }),
    ];
    Group { name: "signals", scenarios, shared: Vec::new() }
}

fn ends_beside_a_silent_database(words: &[&str], code: i32) -> Result<()> {
    let folder = TempDir::new()?;
    let database = TcpListener::bind("127.0.0.1:0").context("no port is free")?;
    database.set_nonblocking(true)?;
    let url = format!("postgres://nobody:nothing@{}/none", database.local_addr()?);
    let settings = folder.path().join("settings.yaml");
    std::fs::write(&settings, "settings: {postgres: {}}")?;
    let mut first = First::start(words, folder.path(), &settings, &url)?;
    let _silent = first.unless_ended(|| database.accept().ok().map(|(stream, _)| stream))?;
    first.signal()?;
    same("the exit code", &first.code()?, &code)
}

/// The program as the first process of a namespace.
struct First {
    /// Makes the namespace, and ends with the code of the program.
    unshare: Child,
}

impl First {
    fn start(words: &[&str], folder: &Path, settings: &Path, url: &str) -> Result<Self> {
        let mut command = Command::new("unshare");
        if !geteuid().is_root() {
            command.arg("--map-root-user");
        }
        command.args(["--pid", "--fork", "--kill-child"]).arg(binary()?).args(words);
        command.arg("--data").arg(folder.join("data")).arg("--config").arg(settings);
        command.env("MCP_POSTGRES_URL", url).stdin(Stdio::null()).stderr(Stdio::null());
        Ok(Self { unshare: command.spawn().context("cannot run unshare")? })
    }

    /// Waits for what comes while the program runs.
    fn unless_ended(&mut self, come: impl Fn() -> Option<TcpStream>) -> Result<TcpStream> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(come) = come() {
                return Ok(come);
            }
            if let Some(status) = self.unshare.try_wait()? {
                bail!("it ended by itself: {status}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("it does not call its database within {PATIENCE:?}")
    }

    fn signal(&self) -> Result<()> {
        let own = self.unshare.id();
        let children = std::fs::read_to_string(format!("/proc/{own}/task/{own}/children"))?;
        let program = children.split_whitespace().next().context("the program is gone")?;
        kill(Pid::from_raw(program.parse()?), Signal::SIGTERM).context("it takes no signal")
    }

    fn code(&mut self) -> Result<i32> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.unshare.try_wait()? {
                return status.code().context("it was killed");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("it does not end within {PATIENCE:?} of the signal")
    }
}

impl Drop for First {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}
