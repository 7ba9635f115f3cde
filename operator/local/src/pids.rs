//! PID files: which process a server is, so that it is found again when its supervisor is gone. Knows
//! processes and files, not what a server is.

use crate::directories::write_whole;
use crate::os;
use nix::sys::signal::Signal;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The name of the supervisor's own PID file.
pub(crate) const SUPERVISOR: &str = "supervisor";

/// A process that a PID file names. Its start time goes with the id, so that a later process with the
/// same id is never taken for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// The id, which is also that of its process group.
    pub(crate) pid: u32,
    /// When it started, in the terms of the operating system.
    started: String,
    /// For an image: the container's runtime and name.
    pub(crate) container: Option<(String, String)>,
}

impl Recorded {
    /// A process that runs right now.
    pub(crate) fn running(pid: u32, container: Option<(String, String)>) -> Option<Self> {
        os::identity(pid).map(|started| Self { pid, started, container })
    }

    /// Writes it: the id on the first line, as other tools expect, and the rest behind it.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let mut text = format!("{}\nstarted={}\n", self.pid, self.started);
        if let Some((runtime, name)) = &self.container {
            let _ = writeln!(text, "runtime={runtime}\ncontainer={name}");
        }
        write_whole(path, &text)
    }

    /// Reads one; `None` for a file that is missing or torn.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        let text = fs::read_to_string(path).ok()?;
        let field = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
        };
        Some(Self {
            pid: text.lines().next()?.trim().parse().ok()?,
            started: field("started")?,
            container: field("runtime").zip(field("container")),
        })
    }

    /// Whether it is that process which has the id now.
    pub(crate) fn is_alive(&self) -> bool {
        os::identity(self.pid).is_some_and(|started| started == self.started)
    }
}

/// Every process that the PID files of a directory name and that is alive, by the name of its file.
pub(crate) fn alive(directory: &Path) -> Vec<(String, Recorded)> {
    let mut found: Vec<_> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let name = path.file_name()?.to_str()?.strip_suffix(".pid")?.to_owned();
            Recorded::read(&path).filter(Recorded::is_alive).map(|recorded| (name, recorded))
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// Ends processes that no supervisor watches any more, and forgets their files. All are asked at once;
/// what has not ended within the grace period is ended by force.
pub(crate) fn end_orphans(directory: &Path, grace: Duration) -> Vec<String> {
    let mut orphans = alive(directory);
    // A supervisor that is just about to exit is no server, and its process group may be a terminal's.
    orphans.retain(|(name, _)| name != SUPERVISOR);
    for (_, orphan) in &orphans {
        remove_container(orphan);
        os::signal_group(orphan.pid, Signal::SIGTERM);
    }
    let names = orphans.iter().map(|(name, _)| name.clone()).collect();
    let deadline = Instant::now() + grace;
    let mut pause = Duration::from_millis(2);
    while Instant::now() < deadline {
        orphans.retain(|(_, orphan)| orphan.is_alive());
        if orphans.is_empty() {
            break;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
    for (_, orphan) in orphans {
        os::signal_group(orphan.pid, Signal::SIGKILL);
    }
    forget(directory);
    names
}

/// Removes every PID file of a directory.
pub(crate) fn forget(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok) {
        if entry.path().extension().is_some_and(|extension| extension == "pid") {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn remove_container(recorded: &Recorded) {
    if let Some((runtime, name)) = &recorded.container {
        let mut command = Command::new(runtime);
        command
            .args(["rm", "--force", name])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let _ = command.status();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::process::CommandExt;

    fn sleeper() -> std::process::Child {
        Command::new("sleep").arg("60").process_group(0).spawn().unwrap()
    }

    #[test]
    fn a_process_is_found_again_and_ended() {
        let directory = tempfile::tempdir().unwrap();
        let mut child = sleeper();
        let recorded = Recorded::running(child.id(), None).unwrap();
        recorded.write(&directory.path().join("memory.pid")).unwrap();
        assert_eq!(alive(directory.path()), [("memory".to_owned(), recorded.clone())]);
        // Reaps the child as its parent; the orphans of a real supervisor have the system as parent.
        let reaper = std::thread::spawn(move || child.wait().unwrap());
        assert_eq!(end_orphans(directory.path(), Duration::from_secs(5)), ["memory"]);
        reaper.join().unwrap();
        assert!(!recorded.is_alive());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn another_process_with_the_same_id_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let mut child = sleeper();
        let path = directory.path().join("memory.pid");
        fs::write(&path, format!("{}\nstarted=long ago\n", child.id())).unwrap();
        assert!(!Recorded::read(&path).unwrap().is_alive());
        assert!(end_orphans(directory.path(), Duration::from_secs(1)).is_empty());
        assert!(!path.exists());
        assert!(child.try_wait().unwrap().is_none(), "it must still run");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_torn_file_names_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("memory.pid");
        for text in ["", "abc\n", "12", "12\nstar", "-5\nstarted=x\n"] {
            fs::write(&path, text).unwrap();
            assert_eq!(Recorded::read(&path), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            pid in 2..u32::MAX,
            started in "[ -~]{1,40}",
            container in proptest::option::of(("[a-z]{1,9}", "[a-z-]{1,30}")),
        ) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("x.pid");
            let recorded = Recorded { pid, started, container };
            recorded.write(&path).unwrap();
            prop_assert_eq!(Recorded::read(&path), Some(recorded));
        }
    }
}
