//! One cluster a machine, and one owner of it at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};

use anyhow::{Context, Result, bail};

use super::layout;

/// Held for as long as somebody changes the cluster: by `cargo cluster up` and `down` while they run, by the tests for
/// as long as they use it. The kernel frees it when its holder ends, however that ends.
#[derive(Debug)]
pub(crate) struct Owner {
    _file: File,
}

impl Owner {
    pub(crate) fn take() -> Result<Self> {
        if !nix::unistd::geteuid().is_root() {
            bail!("the cluster makes namespaces, mounts and cgroups: run this as root");
        }
        let path = layout::run("lock");
        layout::create_dir(layout::run_root())?;
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Only for the message.
                let _ = file.read_to_string(&mut holder);
                bail!("the cluster is in use by process {}: wait until it has ended", holder.trim());
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))?;
        Ok(Self { _file: file })
    }
}

/// Notes that the cluster belongs to a person and stays when its starter ends.
pub(crate) fn mark_kept() -> Result<()> {
    layout::write(&layout::run("kept"), "")
}

/// Whether it does.
pub(crate) fn is_kept() -> bool {
    layout::run("kept").exists()
}
