//! What is built or installed once and kept, outside the checkout.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

const MARK: &str = "installed";

/// The folder that every run shares.
pub(crate) fn folder() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("MCP_SYSTEM_TEST_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|home| home.join("mcp-system-tests")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/mcp-system-tests")))
        .context("no folder for what the tests install: set MCP_SYSTEM_TEST_CACHE or HOME")
}

/// Does this in a folder of its own, named by a hash of what decides about its content, unless it was done before.
/// It counts once its mark is there: a broken or interrupted installation is begun anew.
pub(crate) fn once(
    room: &str,
    name: &str,
    hashed: &[&[u8]],
    install: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let all = folder()?.join(room);
    let folder = all.join(format!("{name}-{}", key(hashed)));
    if folder.join(MARK).exists() {
        return Ok(folder);
    }
    std::fs::create_dir_all(&all).with_context(|| format!("cannot create {}", all.display()))?;
    // Two processes that want the same: the second waits, then finds it done.
    let lock =
        File::create(all.join(format!("{name}.lock"))).context("cannot create the lock of the cache")?;
    lock.lock().context("cannot lock the cache")?;
    if folder.join(MARK).exists() {
        return Ok(folder);
    }
    eprintln!("tests: preparing {name} in {}", folder.display());
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    std::fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    install(&folder).with_context(|| format!("{name} cannot be prepared"))?;
    std::fs::write(folder.join(MARK), "")
        .with_context(|| format!("cannot write into {}", folder.display()))?;
    Ok(folder)
}

pub(crate) fn key(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(6).fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    printed(command).map(drop)
}

/// Runs a command to its end and gives what it printed; what it complained of is the error.
pub(crate) fn printed(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        let said = [output.stderr, output.stdout].concat();
        bail!("{name} failed ({}): {}", output.status, String::from_utf8_lossy(&said).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
