//! A system on this machine, started as a user starts it: `mcp-system up -d`, with the binary of the release build.
//!
//! Each system has a home of its own and free ports, and ends with the test, however that ends.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;

use crate::ports::free_port;
use crate::tied::Tied;

/// The command that builds the binary.
const BUILD: &str = "cargo build --release --workspace";

/// The one binary, as `cargo build --release` leaves it beside the tests, or as `MCP_SYSTEM_BINARY` names it.
pub fn binary() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("MCP_SYSTEM_BINARY").filter(|name| !name.is_empty()) {
        let path = std::path::absolute(&named).context("MCP_SYSTEM_BINARY is no path")?;
        return path
            .is_file()
            .then_some(path)
            .with_context(|| format!("MCP_SYSTEM_BINARY names no file: {}", named.display()));
    }
    // target/TRIPLE/PROFILE/deps/TEST
    let test = std::env::current_exe().context("cannot tell where this test lies")?;
    let target = test.ancestors().nth(3).context("this test does not lie in a target folder")?;
    let path = target.join("release/mcp-system");
    let missing = || format!("{} is missing: build it with `{BUILD}`", path.display());
    path.is_file().then_some(()).with_context(missing)?;
    Ok(path)
}

/// A system that is up. Dropped, it is taken down.
#[derive(Debug)]
pub struct Laptop {
    folder: tempfile::TempDir,
    binary: PathBuf,
    environment: Vec<(String, String)>,
    /// Takes the system down if this process cannot.
    guard: Option<Tied>,
}

/// What `status --json` tells.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    pub name: String,
    pub ready: bool,
    pub ready_servers: String,
    pub url: Option<String>,
    pub servers: Vec<Server>,
}

/// What it tells of one server.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Server {
    pub name: String,
    pub state: String,
    pub pid: Option<i32>,
    pub restarts: u32,
    pub tools: Option<i32>,
    pub url: Option<String>,
    pub message: Option<String>,
}

impl Status {
    /// One server of it.
    pub fn server(&self, name: &str) -> Result<&Server> {
        self.servers
            .iter()
            .find(|server| server.name == name)
            .with_context(|| format!("no {name} in {self:?}"))
    }

    /// The system's MCP endpoint.
    pub fn url(&self) -> Result<&str> {
        self.url.as_deref().context("the system has no URL")
    }
}

impl Server {
    /// Its process.
    pub fn pid(&self) -> Result<i32> {
        self.pid.with_context(|| format!("{} has no process: {self:?}", self.name))
    }
}

/// A system that is to come up.
#[derive(Debug)]
pub struct Setup {
    folder: tempfile::TempDir,
    environment: Vec<(String, String)>,
}

impl Setup {
    /// The system that this text describes, on free ports, with a home of its own.
    pub fn new(system: &str) -> Result<Self> {
        let folder = tempfile::tempdir().context("no folder for a system")?;
        std::fs::write(folder.path().join(FILE), system).context("cannot write the system's file")?;
        let home = folder.path().join("home").display().to_string();
        let mut setup = Self { folder, environment: Vec::new() }.with("MCP_HOME", home);
        for server in ["ORCHESTRATOR", "MEMORY", "TOOLS"] {
            setup = setup.with(&format!("MCP_{server}_PORT"), free_port()?.to_string());
        }
        Ok(setup)
    }

    /// With this variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// With these programs on the PATH, as this machine has them, and no others: what a machine lacks, such as
    /// docker, is then the same everywhere.
    pub fn with_only(self, programs: &[&str]) -> Result<Self> {
        let folder = self.folder.path().join("bin");
        std::fs::create_dir(&folder).context("no folder for programs")?;
        for program in programs {
            let path = find(program).with_context(|| format!("{program} is not installed"))?;
            std::os::unix::fs::symlink(path, folder.join(program))
                .with_context(|| format!("cannot link {program}"))?;
        }
        Ok(self.with("PATH", folder.display().to_string()))
    }

    /// With a link to this beside the system's file.
    pub fn beside(self, name: &str, target: &Path) -> Result<Self> {
        std::os::unix::fs::symlink(target, self.folder.path().join(name))
            .with_context(|| format!("cannot link {name}"))?;
        Ok(self)
    }

    /// Starts it.
    pub fn up(self) -> Result<Laptop> {
        let mut laptop =
            Laptop { folder: self.folder, binary: binary()?, environment: self.environment, guard: None };
        laptop.guard = Some(Tied::after_drop(&laptop.command(&["down"]))?);
        laptop.run(&["up", "-d", "-f", FILE]).map_err(|error| anyhow!("{error:#}\n{}", laptop.logs()))?;
        Ok(laptop)
    }
}

impl Laptop {
    /// Starts the system that this text describes.
    pub fn up(system: &str) -> Result<Self> {
        Setup::new(system)?.up()
    }

    /// A command of the binary for this system, and for no other that this machine may have.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"MCP_") {
                command.env_remove(name);
            }
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command of the binary, and gives what it printed.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let name = format!("mcp-system {}", arguments.join(" "));
        let output = self.command(arguments).output().with_context(|| format!("cannot run {name}"))?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            bail!("{name} failed ({}): {}\n{}", output.status, complaint.trim(), printed.trim());
        }
        Ok(printed)
    }

    /// How it is.
    pub fn status(&self) -> Result<Status> {
        // It fails when something is not ready, and prints all the same.
        let output = self.command(&["status", "--json"]).output().context("cannot run mcp-system status")?;
        serde_json::from_slice(&output.stdout).with_context(|| {
            let [printed, complaint] =
                [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
            format!("status --json printed {} and complained {}", printed.trim(), complaint.trim())
        })
    }

    /// Waits until it is so.
    pub fn wait_until(&self, what: &str, limit: Duration, is_so: impl Fn(&Status) -> bool) -> Result<Status> {
        let started = Instant::now();
        loop {
            let status = self.status()?;
            if is_so(&status) {
                return Ok(status);
            }
            if started.elapsed() > limit {
                bail!("waited {} s in vain for {what}: {status:?}", limit.as_secs());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The ends of its logs, to explain a failure.
    pub fn logs(&self) -> String {
        let ends = log_files(&self.folder.path().join("home")).into_iter().map(|file| {
            let log = std::fs::read(&file).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let lines: Vec<&str> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(15)..].join("\n");
            format!("\n{}:\n{end}\n", file.file_name().unwrap_or_default().display())
        });
        ends.collect()
    }

    /// Takes it down, and says what went wrong with that.
    pub fn down(self) -> Result<()> {
        self.run(&["down"]).map(drop)
    }
}

impl Drop for Laptop {
    fn drop(&mut self) {
        // Dropped before the home is: it runs `down`, which does nothing the second time.
        drop(self.guard.take());
    }
}

/// The system's file, in the folder that holds its home.
const FILE: &str = "system.yaml";

fn log_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries
        .flat_map(|path| if path.is_dir() { log_files(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    files.sort();
    files
}

/// A program on the PATH.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Sends a signal to a process of a system that a test started.
pub fn send(pid: i32, signal: Signal) -> Result<()> {
    kill(Pid::from_raw(pid), signal).with_context(|| format!("cannot send {signal} to process {pid}"))
}

/// Whether there is such a process.
pub fn is_alive(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None).is_ok()
}
