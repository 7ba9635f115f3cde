//! Installs the SDKs, of the versions that the lock files name, once.
//!
//! What is installed lies in the cache, in folders named by a hash of the lock file: a changed version is installed
//! beside the old one.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache::{self, key, printed, run};
use anyhow::{Context, Result, bail};

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

/// Gives the folder that holds `node_modules` of the client.
pub(super) fn node() -> Result<PathBuf> {
    let version = printed(Command::new("node").arg("--version"))
        .context("the TypeScript client takes Node 20 or newer with npm (Debian: nodejs, npm)")?;
    let major: u32 =
        version.trim_start_matches('v').split('.').next().unwrap_or_default().parse().unwrap_or(0);
    if major < 20 {
        bail!("the TypeScript client takes Node 20 or newer; this is {version}");
    }
    packages("typescript")
}

/// Installs what `tests/clients/NAME/package-lock.json` names, and gives the folder that holds `node_modules`.
pub(crate) fn packages(name: &str) -> Result<PathBuf> {
    let folder = sources().join(name);
    let (package, lock) = (folder.join("package.json"), folder.join("package-lock.json"));
    once(name, &[&read(&package)?, &read(&lock)?], |folder| {
        for file in [&package, &lock] {
            let name = file.file_name().unwrap_or_default();
            std::fs::copy(file, folder.join(name))
                .with_context(|| format!("cannot copy {}", file.display()))?;
        }
        run(Command::new("npm")
            .args(["ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
            .current_dir(folder))
        .context("npm is needed (Debian: nodejs, npm)")
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

/// Does this in a folder of the clients' own, unless it was done before.
pub(super) fn once(
    name: &str,
    hashed: &[&[u8]],
    install: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    cache::once("clients", name, hashed, install)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
