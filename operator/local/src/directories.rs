//! Where laptop mode keeps things: one directory a system.

use anyhow::Context;
use mcp_system_crds::config::Lookup;
use serde::{Deserialize, Serialize};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The longest path of a Unix socket that every system takes (macOS: 104 bytes with the closing zero).
const SOCKET_PATH_BYTES: usize = 103;

/// The directory that holds one directory a system: `MCP_HOME`, else the place that the system has for
/// the state of programs.
pub(crate) fn home(lookup: &Lookup<'_>) -> anyhow::Result<PathBuf> {
    let set = |name: &str| lookup(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(home) = set("MCP_HOME") {
        return std::path::absolute(&home).with_context(|| format!("MCP_HOME is {}", home.display()));
    }
    if let Some(state) = set("XDG_STATE_HOME").filter(|path| path.is_absolute()) {
        return Ok(state.join("mcp-system"));
    }
    let user =
        set("HOME").context("neither MCP_HOME nor HOME is set: say in MCP_HOME where state is kept")?;
    Ok(if cfg!(target_os = "macos") {
        user.join("Library/Application Support/mcp-system")
    } else {
        user.join(".local/state/mcp-system")
    })
}

/// Where one system keeps things.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Directories {
    /// The directory of the system.
    pub(crate) root: PathBuf,
    /// `SERVER.log` each, and `supervisor.log`.
    pub(crate) logs: PathBuf,
    /// `SERVER.pid` each, and `supervisor.pid`.
    pub(crate) pids: PathBuf,
    /// The Unix socket of the supervisor.
    pub(crate) socket: PathBuf,
}

impl Directories {
    /// Those of a system that is to start: `MCP_LOG_DIR` and `MCP_PID_DIR` move logs and PID files, to a
    /// directory a system there as well.
    pub(crate) fn new(home: &Path, system: &str, lookup: &Lookup<'_>) -> anyhow::Result<Self> {
        let root = home.join(system);
        let elsewhere = |variable: &str, name: &str| match lookup(variable).filter(|value| !value.is_empty())
        {
            Some(path) => std::path::absolute(&path)
                .map(|path| path.join(system))
                .with_context(|| format!("{variable} is {path:?}")),
            None => Ok(root.join(name)),
        };
        Ok(Self {
            logs: elsewhere("MCP_LOG_DIR", "logs")?,
            pids: elsewhere("MCP_PID_DIR", "pids")?,
            socket: socket(&root),
            root,
        })
    }

    /// Those of a system that was started at some time, whatever the environment was then.
    pub(crate) fn known(home: &Path, system: &str) -> Option<Self> {
        let text = fs::read_to_string(home.join(system).join("places.json")).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Makes them, for their owner alone.
    pub(crate) fn create(&self) -> anyhow::Result<()> {
        let socket_parent = self.socket.parent().unwrap_or(&self.root);
        for path in [&self.root, &self.logs, &self.pids, &self.configs(), socket_parent] {
            create_private(path)?;
        }
        let owner = fs::metadata(socket_parent).map(|metadata| metadata.uid());
        anyhow::ensure!(
            owner.ok() == Some(nix::unistd::Uid::effective().as_raw()),
            "{} belongs to somebody else; set TMPDIR or a shorter MCP_HOME",
            socket_parent.display()
        );
        Ok(())
    }

    /// Notes where they are, for [`Self::known`].
    pub(crate) fn note(&self) -> anyhow::Result<()> {
        write_whole(&self.root.join("places.json"), &serde_json::to_string(self)?)
    }

    /// The files that servers read.
    pub(crate) fn configs(&self) -> PathBuf {
        self.root.join("config")
    }

    /// The keys that are made for the system.
    pub(crate) fn callers(&self) -> PathBuf {
        self.root.join("callers")
    }

    /// What a server stores.
    pub(crate) fn data(&self, server: &str) -> PathBuf {
        self.root.join("data").join(server)
    }

    /// A server's log.
    pub(crate) fn log(&self, server: &str) -> PathBuf {
        self.logs.join(format!("{server}.log"))
    }

    /// A server's PID file.
    pub(crate) fn pid(&self, server: &str) -> PathBuf {
        self.pids.join(format!("{server}.pid"))
    }

    /// Held locked by the supervisor for as long as it lives.
    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }
}

/// Every system that was started here at some time, by name.
pub(crate) fn systems(home: &Path) -> Vec<(String, Directories)> {
    let Ok(entries) = fs::read_dir(home) else { return Vec::new() };
    let mut systems: Vec<_> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Directories::known(home, &name).map(|directories| (name, directories))
        })
        .collect();
    systems.sort_by(|a, b| a.0.cmp(&b.0));
    systems
}

/// Makes a directory for its owner alone, with those above it.
pub(crate) fn create_private(path: &Path) -> anyhow::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("the directory {} cannot be made", path.display()))
}

/// Writes a file so that a reader sees the old text or the new one, and only its owner can read it.
pub(crate) fn write_whole(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let write = || {
        // One that was left behind may be readable for others.
        let _ = fs::remove_file(&new);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        fs::rename(&new, path)
    };
    write().with_context(|| format!("{} cannot be written", path.display()))
}

/// In the directory of the system, unless that makes the path longer than a socket's may be.
fn socket(root: &Path) -> PathBuf {
    let near = root.join("control.sock");
    if near.as_os_str().len() <= SOCKET_PATH_BYTES {
        return near;
    }
    let mut hasher = DefaultHasher::new();
    root.hash(&mut hasher);
    let user = nix::unistd::Uid::effective();
    std::env::temp_dir().join(format!("mcp-system-{user}")).join(format!("{:016x}.sock", hasher.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_says_where_home_is() {
        let with = |pairs: &'static [(&str, &str)]| {
            home(&move |name| {
                pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(with(&[("MCP_HOME", "/a"), ("HOME", "/b")]).unwrap(), Path::new("/a"));
        assert_eq!(with(&[("XDG_STATE_HOME", "/s"), ("HOME", "/b")]).unwrap(), Path::new("/s/mcp-system"));
        assert!(with(&[("HOME", "/b")]).unwrap().starts_with("/b"));
        assert!(with(&[]).is_err());
    }

    #[test]
    fn a_system_is_found_again_without_the_environment_that_it_was_started_with() {
        let home = tempfile::tempdir().unwrap();
        let logs = home.path().join("elsewhere");
        let lookup = |name: &str| (name == "MCP_LOG_DIR").then(|| logs.display().to_string());
        let made = Directories::new(home.path(), "one", &lookup).unwrap();
        made.create().unwrap();
        made.note().unwrap();
        assert_eq!(made.logs, logs.join("one"));
        assert_eq!(systems(home.path()), [("one".to_owned(), made)]);
    }

    #[test]
    fn a_socket_path_never_grows_too_long() {
        let long = PathBuf::from("/").join("x".repeat(200));
        let directories = Directories::new(&long, "one", &|_| None).unwrap();
        assert!(directories.socket.as_os_str().len() <= SOCKET_PATH_BYTES, "{:?}", directories.socket);
    }
}
