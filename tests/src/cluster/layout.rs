//! Where things lie: what is built once and kept (the cache), and what one run writes (the run folder).

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Everything of one run. Fixed, because a machine holds at most one such cluster, whoever starts it, and short,
/// because the names of Unix sockets below it are limited to 107 bytes.
const RUN: &str = "/var/tmp/mcp-system-tests";

/// A file or folder of the run.
pub(crate) fn run(inside: impl AsRef<Path>) -> PathBuf {
    Path::new(RUN).join(inside)
}

/// The run folder itself.
pub(crate) fn run_root() -> &'static Path {
    Path::new(RUN)
}

/// Logs outlive the run that wrote them, so that a failed test can be understood afterwards.
pub(crate) fn logs() -> PathBuf {
    run("logs")
}

/// Begins the logs anew.
pub(crate) fn clear_logs() -> Result<()> {
    match std::fs::remove_dir_all(logs()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", logs().display()))
        }
        _ => Ok(()),
    }
}

/// The log of one part of the cluster.
pub(crate) fn log(part: &str) -> PathBuf {
    logs().join(format!("{part}.log"))
}

/// What the API server was asked, by whom.
pub(crate) fn audit_log() -> PathBuf {
    logs().join("audit.log")
}

/// Where containerd listens.
pub(crate) fn containerd_socket() -> PathBuf {
    run("containerd/containerd.sock")
}

/// Certificates and keys.
pub(crate) fn pki() -> PathBuf {
    run("pki")
}

/// The kubeconfig of one identity.
pub(crate) fn kubeconfig(name: &str) -> PathBuf {
    run("kubeconfig").join(name)
}

/// The Go modules that say what is built, in the checkout that this crate was compiled from.
pub(crate) fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tools")
}

/// `std::fs::create_dir_all` with an error that names the folder.
pub(crate) fn create_dir(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))
}

/// `std::fs::write` with an error that names the file; creates the folder too.
pub(crate) fn write(path: &Path, text: impl AsRef<[u8]>) -> Result<()> {
    if let Some(folder) = path.parent() {
        create_dir(folder)?;
    }
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
