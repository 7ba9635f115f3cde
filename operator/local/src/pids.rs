//! PID files: which process or container a server is, so that it is found again when its supervisor is gone. Knows
//! processes, containers and files, not what a server is.

use crate::containers::{self, Answer};
use crate::directories::write_whole;
use crate::os;
use nix::sys::signal::Signal;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
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

    /// Whether it is still there: the process, or its container, which outlives the client that started it.
    fn is_left(&self) -> bool {
        let has = |(runtime, name): &(String, String)| containers::has(runtime, name) != Answer::No;
        self.is_alive() || self.container.as_ref().is_some_and(has)
    }
}

/// What came of ending what was left behind.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ended {
    /// What was ended, by the names of the files.
    pub(crate) names: Vec<String>,
    /// What could not be ended, in words.
    pub(crate) remaining: Vec<String>,
}

/// Everything that the PID files of a directory name and that is still there, by the name of its file.
pub(crate) fn left(directory: &Path) -> Vec<(String, Recorded)> {
    let mut found: Vec<_> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let name = path.file_name()?.to_str()?.strip_suffix(".pid")?.to_owned();
            Recorded::read(&path).filter(Recorded::is_left).map(|recorded| (name, recorded))
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// Ends what no supervisor watches any more, and forgets its files. All processes are asked at once; what has not ended
/// within the grace period is ended by force.
pub(crate) fn end_orphans(directory: &Path, grace: Duration) -> Ended {
    let mut orphans = left(directory);
    // A supervisor that is just about to exit is no server, and its process group may be a terminal's.
    orphans.retain(|(name, _)| name != SUPERVISOR);
    let mut ended = Ended::default();
    let mut remaining = Vec::new();
    for (name, orphan) in &orphans {
        match &orphan.container {
            Some((runtime, container)) if !containers::remove(runtime, container) => {
                let problem = format!("{runtime} did not end its container {container}, which may run still");
                ended.remaining.push(format!("{name}: {problem}"));
                remaining.push((name.clone(), orphan.clone()));
            }
            _ => ended.names.push(name.clone()),
        }
        if orphan.is_alive() {
            os::signal_group(orphan.pid, Signal::SIGTERM);
        }
    }
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
    // For whoever tries again.
    for (name, orphan) in remaining {
        let _ = orphan.write(&directory.join(format!("{name}.pid")));
    }
    ended
}

/// Removes every PID file of a directory.
pub(crate) fn forget(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok) {
        if entry.path().extension().is_some_and(|extension| extension == "pid") {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    fn sleeper() -> std::process::Child {
        Command::new("sleep").arg("60").process_group(0).spawn().unwrap()
    }

    #[test]
    fn a_process_is_found_again_and_ended() {
        let directory = tempfile::tempdir().unwrap();
        let mut child = sleeper();
        let recorded = Recorded::running(child.id(), None).unwrap();
        recorded.write(&directory.path().join("memory.pid")).unwrap();
        assert_eq!(left(directory.path()), [("memory".to_owned(), recorded.clone())]);
        // Reaps the child as its parent; the orphans of a real supervisor have the system as parent.
        let reaper = std::thread::spawn(move || child.wait().unwrap());
        assert_eq!(end_orphans(directory.path(), Duration::from_secs(5)).names, ["memory"]);
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
        assert_eq!(end_orphans(directory.path(), Duration::from_secs(1)), Ended::default());
        assert!(!path.exists());
        assert!(child.try_wait().unwrap().is_none(), "it must still run");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Stands in for docker: a container is there as long as the file of its name beside this one.
    const DOCKER: &str = "#!/bin/sh\n\
        case \"$1 $2\" in\n\
        'container inspect') [ -e \"${0%/*}/$3\" ] ;;\n\
        'rm --force') [ -e \"${0%/*}/stuck\" ] || rm -f \"${0%/*}/$3\" ;;\n\
        esac\n";

    #[test]
    fn a_container_whose_client_is_gone_is_ended_too() {
        let folder = tempfile::tempdir().unwrap();
        let (docker, pids) = (folder.path().join("docker"), folder.path().join("pids"));
        // By another process: a program that this one has open to write, or a child of a test beside it has, cannot be run.
        let text = folder.path().join("docker.sh");
        fs::write(&text, DOCKER).unwrap();
        let made = Command::new("install").arg("-m755").args([&text, &docker]).status().unwrap();
        assert!(made.success());
        fs::create_dir(&pids).unwrap();
        // The id is this test's own, which is another process than the one that started long ago.
        let client = Recorded {
            pid: std::process::id(),
            started: "long ago".to_owned(),
            container: Some((docker.display().to_string(), "weather-1".to_owned())),
        };
        let end = || end_orphans(&pids, Duration::from_secs(1));
        client.write(&pids.join("weather.pid")).unwrap();
        assert_eq!((left(&pids), end()), (Vec::new(), Ended::default()), "there is no container");

        let (container, stuck) = (folder.path().join("weather-1"), folder.path().join("stuck"));
        for file in [&container, &stuck] {
            fs::write(file, "").unwrap();
        }
        client.write(&pids.join("weather.pid")).unwrap();
        let ended = end();
        assert!(
            ended.names.is_empty() && ended.remaining[0].contains("its container weather-1"),
            "{ended:?}"
        );
        fs::remove_file(stuck).unwrap();
        assert_eq!(left(&pids), [("weather".to_owned(), client)], "it can be tried again");
        assert_eq!(end().names, ["weather"]);
        assert!(!container.exists());
        assert_eq!(fs::read_dir(&pids).unwrap().count(), 0);
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
