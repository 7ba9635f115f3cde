//! The cluster's daemons: started, found, stopped.
//!
//! A daemon is recognised by a variable in its environment, so there are no pid files that a killed run could leave
//! behind, and no process id is ever taken for another's.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{debian, layout, network, parts};

/// Names the daemon in its environment. What a daemon starts inherits it.
pub(crate) const MARKER: &str = "MCP_SYSTEM_TEST_CLUSTER_PART";

/// Set once a signal has come: the cluster is being torn down, then the process ends.
pub(crate) static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// What a thread does that would go on, or fail, while another tears the cluster down: nothing, until the process ends.
pub(crate) fn halt_if_interrupted() {
    while INTERRUPTED.load(Ordering::SeqCst) {
        std::thread::park();
    }
}

/// A part of the cluster that can be stopped and started by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Daemon {
    Etcd,
    ApiServer,
    ControllerManager,
    Scheduler,
    Containerd,
    Kubelet,
    KubeProxy,
}

impl Daemon {
    /// In the order in which they start.
    pub const ALL: [Self; 7] = [
        Self::Etcd,
        Self::ApiServer,
        Self::ControllerManager,
        Self::Scheduler,
        Self::Containerd,
        Self::Kubelet,
        Self::KubeProxy,
    ];

    /// The name of its program and of its log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Containerd => "containerd",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
        }
    }

    /// Its process, if it runs.
    pub fn pid(self) -> Option<i32> {
        marked().into_iter().find(|found| found.is(self.name(), self.name())).map(|found| found.pid)
    }
}

/// A process that the cluster started, or that one of its daemons started.
#[derive(Debug)]
pub(crate) struct Marked {
    pub(crate) pid: i32,
    part: String,
    program: String,
}

impl Marked {
    /// The part itself, not something that it started.
    pub(crate) fn is(&self, part: &str, program: &str) -> bool {
        self.part == part && self.program == program
    }
}

/// Every process that carries the marker.
pub(crate) fn marked() -> Vec<Marked> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| read_marked(entry.file_name().to_str()?.parse().ok()?)).collect()
}

/// Processes come and go while we look: one that cannot be read is none of ours.
fn read_marked(pid: i32) -> Option<Marked> {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    let part = environment
        .split(|byte| *byte == 0)
        .find_map(|entry| entry.strip_prefix(MARKER.as_bytes())?.strip_prefix(b"="))
        .map(|part| String::from_utf8_lossy(part).into_owned())?;
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let program = program.file_name()?.to_string_lossy().trim_end_matches(" (deleted)").to_owned();
    Some(Marked { pid, part, program })
}

/// Starts a daemon in the cluster's namespaces; it outlives the process that started it.
pub(crate) fn start(daemon: Daemon, arguments: &[String]) -> Result<()> {
    if daemon.pid().is_some() {
        return Ok(());
    }
    let name = daemon.name();
    let program = parts::program(name)?;
    let mut command = network::inside()?;
    command.arg("--").arg(&program).args(arguments);
    // containerd looks for its shim on the path.
    let beside = program.parent().unwrap_or(Path::new("/"));
    command.env("PATH", format!("{}:{}", beside.display(), debian::PATH));
    spawn(name, command)?;
    // nsenter becomes the daemon within milliseconds; only then can it be found.
    wait_until(name, Duration::from_secs(5), &[], || Ok(daemon.pid().is_some())).with_context(|| {
        format!("{name} ended at once; from {}:\n{}", layout::log(name).display(), tail(&layout::log(name)))
    })
}

/// Starts a command in the background, marked, with its output in a log.
pub(crate) fn spawn(name: &str, mut command: Command) -> Result<()> {
    halt_if_interrupted();
    let path = layout::log(name);
    layout::create_dir(&layout::logs())?;
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    let mut child = command
        .env(MARKER, name)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("cannot share the log")?)
        .stderr(log)
        // A Ctrl-C at the terminal is for us: we stop the daemons in order.
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    // Waiting for it keeps a dead daemon from staying as a zombie for as long as the tests run.
    std::thread::spawn(move || child.wait());
    Ok(())
}

/// Asks a daemon to end, and makes it end if it takes too long.
pub(crate) fn stop(daemon: Daemon) -> Result<()> {
    let Some(pid) = daemon.pid() else { return Ok(()) };
    send(pid, Signal::SIGTERM);
    // The API server would wait for its watchers to leave.
    if gone_within(pid, Duration::from_secs(3)) {
        return Ok(());
    }
    send(pid, Signal::SIGKILL);
    if gone_within(pid, Duration::from_secs(5)) {
        return Ok(());
    }
    bail!("{} (process {pid}) does not end, even when killed", daemon.name())
}

/// A process that has ended meanwhile is what the signal is for, so failure is no error.
pub(crate) fn send(pid: i32, signal: Signal) {
    let _ = kill(Pid::from_raw(pid), signal);
}

fn gone_within(pid: i32, limit: Duration) -> bool {
    let started = Instant::now();
    while started.elapsed() < limit {
        // A zombie's environment is empty, so it counts as gone.
        if read_marked(pid).is_none() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

/// Polls until the answer is yes. If one of the daemons that it depends on ends, it says so with the end of its log.
pub(crate) fn wait_until(
    what: &str,
    limit: Duration,
    depends_on: &[Daemon],
    mut ready: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let started = Instant::now();
    let mut last = None;
    while started.elapsed() < limit {
        match ready() {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) => last = Some(error),
        }
        halt_if_interrupted();
        for daemon in depends_on {
            if daemon.pid().is_none() {
                let log = layout::log(daemon.name());
                bail!(
                    "{} ended while waiting for {what}; from {}:\n{}",
                    daemon.name(),
                    log.display(),
                    tail(&log)
                );
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let reason = last.map_or(String::new(), |error| format!("\nlast error: {error:#}"));
    let logs = depends_on.iter().fold(String::new(), |text, daemon| {
        let log = layout::log(daemon.name());
        format!("{text}\nfrom {}:\n{}", log.display(), tail(&log))
    });
    bail!("waited {} s in vain for {what}{reason}{logs}", limit.as_secs())
}

/// The last lines of a log, for an error message.
pub(crate) fn tail(log: &Path) -> String {
    let Ok(text) = std::fs::read(log) else { return "(no log)".to_owned() };
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

/// Runs a command to its end and gives what it printed; its error output is the error.
pub(crate) fn run(mut command: Command, input: Option<&str>) -> Result<String> {
    let name = command
        .get_args()
        .skip_while(|argument| *argument != "--")
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect::<Vec<_>>();
    let name =
        if name.is_empty() { command.get_program().to_string_lossy().into_owned() } else { name.join(" ") };
    let mut child = command
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    // Written by another thread: a command that prints much before it has read all would block us both.
    let writer = input.zip(child.stdin.take()).map(|(text, mut pipe)| {
        let text = text.to_owned();
        // A command that stops reading tells why in its error output.
        std::thread::spawn(move || std::io::Write::write_all(&mut pipe, text.as_bytes()))
    });
    let output = child.wait_with_output().with_context(|| format!("cannot wait for {name}"))?;
    if let Some(writer) = writer {
        let _ = writer.join();
    }
    // Torn down with the cluster, the command has failed for no reason of its own.
    halt_if_interrupted();
    if !output.status.success() {
        bail!("{name} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
