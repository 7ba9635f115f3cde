//! A home of its own for each test: a directory, free ports, and the end of whatever was started in it.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The supervisor asks a server that answers for its tools twice a minute.
const DEADLINE: Duration = Duration::from_secs(90);
const PORTS: u16 = 5;

/// Below the range from which systems choose the ports of outgoing connections.
const FIRST_PORT: u16 = 10_000;
const BLOCKS: u16 = 2_000;
static NEXT_BLOCK: AtomicU16 = AtomicU16::new(0);

/// The binary of the release build.
pub(crate) fn program() -> String {
    let path = mcp_system_tests::laptop::binary().expect("the binary");
    path.into_os_string().into_string().expect("a path in UTF-8")
}

/// A home with an environment. Copies with another environment share the directory.
pub(crate) struct Home {
    directory: Rc<Directory>,
    ports: u16,
    environment: BTreeMap<String, String>,
}

struct Directory(TempDir);

/// Waits until something is so; a test that waits too long fails.
pub(crate) fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < until, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Signals one process.
pub(crate) fn signal(pid: u32, signal: Signal) {
    assert!(pid > 1);
    kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
}

impl Home {
    pub(crate) fn new() -> Self {
        let directory = Rc::new(Directory(TempDir::with_prefix("mcp-home-").unwrap()));
        let ports = free_ports();
        let mut environment = BTreeMap::from([
            ("MCP_HOME".to_owned(), directory.0.path().join("state").display().to_string()),
            ("NO_COLOR".to_owned(), "1".to_owned()),
        ]);
        for (index, server) in ["ORCHESTRATOR", "MEMORY", "TOOLS"].into_iter().enumerate() {
            environment.insert(format!("MCP_{server}_PORT"), (usize::from(ports) + index).to_string());
        }
        Self { directory, ports, environment }
    }

    pub(crate) fn with(&self, name: &str, value: &str) -> Self {
        let mut environment = self.environment.clone();
        environment.insert(name.to_owned(), value.to_owned());
        Self { directory: self.directory.clone(), ports: self.ports, environment }
    }

    pub(crate) fn without(&self, name: &str) -> Self {
        let mut environment = self.environment.clone();
        environment.remove(name);
        Self { directory: self.directory.clone(), ports: self.ports, environment }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.0.path()
    }

    /// Ports 0 to 2 are those of orchestrator, memory and tools, the others are free.
    pub(crate) fn port(&self, index: u16) -> u16 {
        assert!(index < PORTS);
        self.ports + index
    }

    /// Writes the file of the test, whose name is that of the system.
    pub(crate) fn file(&self, spec: &str) -> String {
        let path = self.path().join("system.yaml");
        let spec = if spec.starts_with('{') { spec.to_owned() } else { format!("{{{spec}}}") };
        let text = format!(
            "apiVersion: mcpsystem.io/v1alpha1\nkind: McpSystem\nmetadata: {{name: from-file}}\nspec: {spec}\n"
        );
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.directory.command(arguments, &self.environment)
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Ran { what: arguments.join(" "), output: self.command(arguments).output().unwrap() }
    }

    /// Starts a command that goes on, with its output in a file.
    pub(crate) fn start(&self, arguments: &[&str]) -> Started {
        let path = self.path().join("output");
        let file = fs::File::create(&path).unwrap();
        let mut command = self.command(arguments);
        let child = command.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        Started { child: child.into(), output: path }
    }

    pub(crate) fn report(&self) -> Value {
        let output = self.command(&["status", "--json"]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    pub(crate) fn server(&self, name: &str) -> Value {
        let report = self.report();
        let servers = report["servers"].as_array().cloned().unwrap_or_default();
        servers.into_iter().find(|server| server["name"] == name).unwrap_or_default()
    }

    pub(crate) fn state(&self, name: &str) -> String {
        self.server(name)["state"].as_str().unwrap_or_default().to_owned()
    }

    /// How many tools a server has.
    pub(crate) fn tools(&self, name: &str) -> i64 {
        self.server(name)["tools"].as_i64().unwrap_or_default()
    }

    /// Kills the supervisor, and waits until it is gone with all that it held.
    pub(crate) fn kill_supervisor(&self) {
        let supervisor = self.report()["supervisor"].as_u64().unwrap().try_into().unwrap();
        signal(supervisor, Signal::SIGKILL);
        eventually("the supervisor is gone", || {
            let output = Command::new("ps").args(["-o", "stat=", "-p", &supervisor.to_string()]).output();
            let state = String::from_utf8_lossy(&output.unwrap().stdout).trim().to_owned();
            state.is_empty() || state.starts_with('Z')
        });
    }

    pub(crate) fn pid(&self, name: &str) -> u32 {
        self.server(name)["pid"].as_u64().unwrap_or_default().try_into().unwrap()
    }

    /// The supervisors and servers of this home that run.
    pub(crate) fn processes(&self) -> Vec<String> {
        let output = Command::new("ps").args(["-axo", "pid=,stat=,command="]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let pids = self.path().join("state");
        let marks = [pids.display().to_string(), format!("--port {}", self.port(3))];
        let mut lines: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
        lines.retain(|line| {
            let is_zombie = line.split_whitespace().nth(1).is_some_and(|state| state.starts_with('Z'));
            !is_zombie && (marks.iter().any(|mark| line.contains(mark)) || self.is_supervisor(line))
        });
        lines
    }

    fn is_supervisor(&self, line: &str) -> bool {
        let recorded = ["default", "from-file"].into_iter().find_map(|system| {
            let path = self.path().join("state").join(system).join("pids/supervisor.pid");
            Some(fs::read_to_string(path).ok()?.lines().next()?.to_owned())
        });
        recorded.is_some_and(|pid| line.split_whitespace().next() == Some(&pid))
    }
}

impl Directory {
    fn command(&self, arguments: &[&str], environment: &BTreeMap<String, String>) -> Command {
        let mut command = Command::new(program());
        command.args(arguments).current_dir(self.0.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MCP_")) {
            command.env_remove(name);
        }
        command.envs(environment);
        command
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let state = self.0.path().join("state");
        let environment = BTreeMap::from([("MCP_HOME".to_owned(), state.display().to_string())]);
        for system in ["default", "from-file"] {
            let _ = self.command(&["down", "--name", system], &environment).output();
        }
    }
}

/// A command that ended.
pub(crate) struct Ran {
    what: String,
    output: Output,
}

impl Ran {
    pub(crate) fn succeeds(self) -> String {
        let (out, err) = self.texts();
        assert!(self.output.status.success(), "`{}` failed:\n{out}\n{err}", self.what);
        out
    }

    /// Gives what it says on both outputs; it must fail in order, not crash.
    pub(crate) fn fails(self) -> String {
        let (out, err) = self.texts();
        assert_eq!(self.output.status.code(), Some(1), "`{}`:\n{out}\n{err}", self.what);
        format!("{out}{err}")
    }

    fn texts(&self) -> (String, String) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&self.output.stdout), text(&self.output.stderr))
    }
}

/// A command that goes on.
pub(crate) struct Started {
    child: std::cell::RefCell<Child>,
    output: std::path::PathBuf,
}

impl Started {
    pub(crate) fn output(&self) -> String {
        fs::read_to_string(&self.output).unwrap()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.borrow().id()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.child.borrow_mut().try_wait().unwrap().is_some()
    }

    pub(crate) fn exit_code(&self) -> Option<i32> {
        eventually("the command ends", || self.has_ended());
        self.child.borrow_mut().wait().unwrap().code()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let mut child = self.child.borrow_mut();
        if child.try_wait().is_ok_and(|ended| ended.is_none()) {
            // In order, so that its servers end with it.
            let _ = kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM);
            let _ = child.wait();
        }
    }
}

/// The first of some ports in a row that are free, another row each time.
fn free_ports() -> u16 {
    // Two test runs on one machine begin at different places.
    let start = u16::try_from(std::process::id() % u32::from(BLOCKS)).unwrap();
    (0..BLOCKS)
        .map(|_| start.wrapping_add(NEXT_BLOCK.fetch_add(1, Ordering::Relaxed)) % BLOCKS)
        .map(|block| FIRST_PORT + PORTS * block)
        .find(|first| (0..PORTS).all(|index| TcpListener::bind(("127.0.0.1", first + index)).is_ok()))
        .unwrap()
}
