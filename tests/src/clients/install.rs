//! Installs the SDKs, of the versions that the lock files name, once.
//!
//! What is installed lies in the cache, in folders named by a hash of the lock file, and counts once its mark is there:
//! a broken or interrupted installation is begun anew, a changed version installed beside the old one.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::cache;

const MARK: &str = "installed";

/// `tests/clients` of the checkout that this crate was compiled from.
fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

pub(super) fn python_client() -> PathBuf {
    sources().join("python/client.py")
}

/// Gives the interpreter that sees the SDK.
pub(super) fn python() -> Result<PathBuf> {
    let requirements = sources().join("python/requirements.txt");
    // A virtual environment is tied to the interpreter that made it.
    let interpreter = printed(Command::new("python3").arg("--version"))
        .context("the Python client takes Python 3.10 or newer (Debian: python3, python3-venv)")?;
    let folder = once("python", &[&read(&requirements)?, interpreter.as_bytes()], |folder| {
        run(Command::new("python3").args(["-m", "venv"]).arg(folder))
            .context("is the Debian package python3-venv installed?")?;
        run(Command::new(folder.join("bin/python"))
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--no-input",
                "--disable-pip-version-check",
                "--requirement",
            ])
            .arg(&requirements))
    })?;
    Ok(folder.join("bin/python"))
}

/// Gives the folder that holds `node_modules`.
pub(super) fn node() -> Result<PathBuf> {
    let (package, lock) =
        (sources().join("typescript/package.json"), sources().join("typescript/package-lock.json"));
    let version = printed(Command::new("node").arg("--version"))
        .context("the TypeScript client takes Node 20 or newer with npm (Debian: nodejs, npm)")?;
    let major: u32 =
        version.trim_start_matches('v').split('.').next().unwrap_or_default().parse().unwrap_or(0);
    if major < 20 {
        bail!("the TypeScript client takes Node 20 or newer; this is {version}");
    }
    once("node", &[&read(&package)?, &read(&lock)?], |folder| {
        for file in [&package, &lock] {
            let name = file.file_name().unwrap_or_default();
            std::fs::copy(file, folder.join(name))
                .with_context(|| format!("cannot copy {}", file.display()))?;
        }
        run(Command::new("npm")
            .args(["ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
            .current_dir(folder))
    })
}

/// Gives the client as a file beside `node_modules`, where Node looks for the packages that it imports.
pub(super) fn node_client(folder: &Path) -> Result<PathBuf> {
    beside_modules(folder, "client")
}

/// Gives what keeps a server on loopback.
pub(super) fn loopback(folder: &Path) -> Result<PathBuf> {
    beside_modules(folder, "loopback")
}

/// Copies a module to where the installed packages are. Its name holds a hash, so that another checkout's does not
/// get in the way.
fn beside_modules(folder: &Path, name: &str) -> Result<PathBuf> {
    let bytes = read(&sources().join(format!("typescript/{name}.mjs")))?;
    let target = folder.join(format!("{name}-{}.mjs", key(&[&bytes])));
    if !target.exists() {
        let draft = folder.join(format!("{name}-{}.draft", std::process::id()));
        std::fs::write(&draft, bytes)
            .and_then(|()| std::fs::rename(&draft, &target))
            .with_context(|| format!("cannot write {}", target.display()))?;
    }
    Ok(target)
}

/// Does this in a folder of its own, unless it was done before.
pub(super) fn once(
    name: &str,
    hashed: &[&[u8]],
    install: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let all = cache::folder()?.join("clients");
    let folder = all.join(format!("{name}-{}", key(hashed)));
    if folder.join(MARK).exists() {
        return Ok(folder);
    }
    std::fs::create_dir_all(&all).with_context(|| format!("cannot create {}", all.display()))?;
    // Two processes that want the same: the second waits, then finds it done.
    let lock = File::create(all.join(format!("{name}.lock")))
        .context("cannot create the lock of the client cache")?;
    lock.lock().context("cannot lock the client cache")?;
    if folder.join(MARK).exists() {
        return Ok(folder);
    }
    eprintln!("tests: preparing {name} in {}", folder.display());
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    std::fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    install(&folder).with_context(|| format!("{name} of the clients cannot be prepared"))?;
    std::fs::write(folder.join(MARK), "")
        .with_context(|| format!("cannot write into {}", folder.display()))?;
    Ok(folder)
}

fn key(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(6).fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn run(command: &mut Command) -> Result<()> {
    printed(command).map(drop)
}

pub(super) fn printed(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        let said = [output.stderr, output.stdout].concat();
        bail!("{name} failed ({}): {}", output.status, String::from_utf8_lossy(&said).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
