//! The lock that keeps a second server from the same data.
//!
//! SQLite itself would let both in, and each would answer from a cache and a clock of its own.

use crate::locked::Locked;
use anyhow::Context;
use std::fs::{OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Another process has the store open to write.
#[derive(Debug, thiserror::Error)]
#[error(
    "another memory server{} uses {}: stop it, or give this one a data directory of its own",
    holder.as_ref().map(|process| format!(", process {process}")).unwrap_or_default(),
    directory.display()
)]
pub struct InUse {
    /// The number of its process, when that is known.
    holder: Option<String>,
    directory: PathBuf,
}

/// Held for as long as this value lives.
#[derive(Debug)]
pub(super) struct Lock {
    _file: Locked,
}

impl Lock {
    /// Takes the lock of a data directory, or says who holds it.
    pub(super) fn take(directory: &Path) -> anyhow::Result<Self> {
        let path = directory.join("memory.lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                let holder = Some(holder).filter(|holder| !holder.is_empty());
                return Err(InUse { holder, directory: directory.to_owned() }.into());
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        // The number helps people only, so a failure to note it is none.
        let _ = file.set_len(0).and_then(|()| file.rewind());
        let _ = write!(file, "{}", std::process::id());
        Ok(Self { _file: Locked(file) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_server_is_refused_until_the_first_lets_go() {
        let directory = tempfile::tempdir().unwrap();
        let first = Lock::take(directory.path()).expect("free");
        let error = Lock::take(directory.path()).expect_err("held").to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        assert!(error.contains(&directory.path().display().to_string()), "{error}");
        drop(first);
        Lock::take(directory.path()).expect("free again");
    }
}
