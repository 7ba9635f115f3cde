//! One server by itself, as `mcp-system serve SERVER` runs it: on a free port that it keeps, with a data folder of its
//! own that outlives its process.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::laptop::binary;
use crate::ports::free_port;
use crate::tied::Tied;

/// How long it may take to be ready, a debug build on a busy machine included.
const PATIENCE: Duration = Duration::from_secs(30);

/// The server. Dropped, it and its data are gone.
#[derive(Debug)]
pub struct Single {
    server: &'static str,
    port: u16,
    folder: tempfile::TempDir,
    /// What goes before the command, such as `unshare`.
    before: Vec<String>,
    process: Option<Tied>,
}

impl Single {
    /// Starts a server with these settings, and waits until it is ready.
    pub fn start(server: &'static str, settings: &str) -> Result<Self> {
        Self::start_as(server, |_| Ok(settings.to_owned()), |_| Vec::new())
    }

    /// The same with settings, and a command that starts it, which depend on a folder: an empty one, that of its data.
    pub fn start_as(
        server: &'static str,
        settings: impl FnOnce(&Path) -> Result<String>,
        before: impl FnOnce(&Path) -> Vec<String>,
    ) -> Result<Self> {
        let folder = tempfile::tempdir().context("no folder for a server")?;
        let data = folder.path().join(DATA);
        std::fs::create_dir(&data).context("no folder for a server's data")?;
        std::fs::write(folder.path().join(SETTINGS), settings(&data)?)
            .context("cannot write the settings")?;
        let before = before(&data);
        let mut single = Self { server, port: free_port()?, folder, before, process: None };
        single.again()?;
        Ok(single)
    }

    /// Its MCP endpoint, the same after each start.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.port)
    }

    /// Starts it on the data that the last one left, and waits until it is ready.
    pub fn again(&mut self) -> Result<()> {
        self.process = None;
        self.process = Some(Tied::until_dropped(&self.command()?)?);
        let started = Instant::now();
        loop {
            match self.health() {
                Ok(answer) if answer.starts_with("HTTP/1.1 200") => return Ok(()),
                last if started.elapsed() > PATIENCE => {
                    bail!("{} is not ready within {PATIENCE:?}: {last:?}", self.server)
                }
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Its process.
    pub fn pid(&self) -> Result<i32> {
        self.process.as_ref().and_then(|process| process.pid).context("it does not run")
    }

    /// The folder of its data.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join(DATA)
    }

    /// Gives it other settings while it runs.
    pub fn configure(&self, settings: &str) -> Result<()> {
        // At once, as a mounted file changes: it never sees half of them.
        let (new, file) = (self.folder.path().join("new"), self.folder.path().join(SETTINGS));
        std::fs::write(&new, settings).context("cannot write the settings")?;
        std::fs::rename(&new, &file).context("cannot put the settings in place")
    }

    /// Ends it at once, in the middle of whatever it does.
    pub fn kill(&self) -> Result<()> {
        kill(Pid::from_raw(self.pid()?), Signal::SIGKILL).context("cannot kill it")
    }

    /// What it answers when it is asked for its health, headers and all.
    pub fn health(&self) -> Result<String> {
        self.get("/health")
    }

    /// What it measures, with headers.
    pub fn metrics(&self) -> Result<String> {
        self.get("/metrics")
    }

    fn get(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    fn command(&self) -> Result<Command> {
        let program: PathBuf = binary()?;
        let mut words = self.before.clone();
        words.push(program.display().to_string());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["serve", self.server, "--bind", "127.0.0.1", "--port"]);
        command.arg(self.port.to_string()).arg("--config").arg(self.folder.path().join(SETTINGS));
        if self.server == "memory" {
            command.arg("--data").arg(self.folder.path().join(DATA));
        }
        Ok(command)
    }
}

const SETTINGS: &str = "settings.yaml";
const DATA: &str = "data";
