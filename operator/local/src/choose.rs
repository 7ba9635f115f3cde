//! Which system a command is about, when several were started on this machine.

use crate::directories::{Directories, systems};
use crate::order::read_system;
use crate::pids;
use anyhow::{Context, bail};
use std::fs::File;
use std::path::{Path, PathBuf};

/// How a person names a system.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// By its name.
    pub name: Option<String>,
    /// By the file that describes it.
    pub file: Option<PathBuf>,
}

/// A system that was started at some time.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) name: String,
    pub(crate) directories: Directories,
}

/// Whether something of a system runs: its supervisor, or servers without one.
pub(crate) fn runs(directories: &Directories) -> bool {
    is_supervised(directories) || !pids::left(&directories.pids).is_empty()
}

/// Whether a supervisor is in charge of a system. It holds the lock until its last breath.
pub(crate) fn is_supervised(directories: &Directories) -> bool {
    File::open(directories.lock())
        .is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock)))
}

/// The system that is meant: the one that is named, else the only one that runs. `None` when nothing is
/// named and nothing runs, or what is named was never started.
pub(crate) fn choose(home: &Path, choice: &Choice) -> anyhow::Result<Option<Chosen>> {
    let name = match (&choice.name, &choice.file) {
        (Some(name), _) => Some(name.clone()),
        (None, Some(file)) => {
            read_system(Some(file))?.0.metadata.name.map(Some).context("the system has no name")?
        }
        (None, None) => None,
    };
    if let Some(name) = name {
        return Ok(Directories::known(home, &name).map(|directories| Chosen { name, directories }));
    }
    let mut running: Vec<_> =
        systems(home).into_iter().filter(|(_, directories)| runs(directories)).collect();
    if running.len() > 1 {
        let names: Vec<&str> = running.iter().map(|(name, _)| name.as_str()).collect();
        bail!("several systems run here: {}; choose one with --name", names.join(", "));
    }
    Ok(running.pop().map(|(name, directories)| Chosen { name, directories }))
}

/// Like [`choose`], but a system that no longer runs will do when it is the only one there ever was, so
/// that its logs can be read.
pub(crate) fn choose_known(home: &Path, choice: &Choice) -> anyhow::Result<Chosen> {
    if let Some(chosen) = choose(home, choice)? {
        return Ok(chosen);
    }
    if let Some(name) = &choice.name {
        bail!("no system called {name:?} was ever started here");
    }
    let mut known = systems(home);
    match (known.pop(), known.len()) {
        (Some((name, directories)), 0) if choice.file.is_none() => Ok(Chosen { name, directories }),
        (Some((name, _)), _) if choice.file.is_none() => {
            let names: Vec<String> = known.into_iter().map(|(name, _)| name).chain([name]).collect();
            bail!("no system runs; choose one of {} with --name", names.join(", "))
        }
        _ => bail!("no system was started here yet; start one with `mcp-system up`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(home: &Path, name: &str) -> Directories {
        let directories = Directories::new(home, name, &|_| None).unwrap();
        directories.create().unwrap();
        directories.note().unwrap();
        directories
    }

    #[test]
    fn the_only_one_that_runs_is_meant() {
        let home = tempfile::tempdir().unwrap();
        assert!(choose(home.path(), &Choice::default()).unwrap().is_none());
        let (one, two) = (started(home.path(), "one"), started(home.path(), "two"));
        let hold = |directories: &Directories| {
            let lock = File::create(directories.lock()).unwrap();
            lock.try_lock().unwrap();
            lock
        };
        assert!(choose(home.path(), &Choice::default()).unwrap().is_none());
        assert!(choose_known(home.path(), &Choice::default()).unwrap_err().to_string().contains("one, two"));
        let first = hold(&one);
        assert_eq!(choose(home.path(), &Choice::default()).unwrap().unwrap().name, "one");
        let second = hold(&two);
        let error = choose(home.path(), &Choice::default()).unwrap_err().to_string();
        assert!(error.contains("one, two") && error.contains("--name"), "{error}");
        let named = Choice { name: Some("two".to_owned()), file: None };
        assert_eq!(choose(home.path(), &named).unwrap().unwrap().name, "two");
        // Not by dropping them: a process that another test is just starting has them open too.
        for lock in [first, second] {
            lock.unlock().unwrap();
        }
        assert!(!runs(&one));
    }
}
