//! The official MCP SDKs as clients: what a user's own program would be.
//!
//! Their sources stand in `tests/clients`. Each reads one script of steps and prints an event a line ([`script`]);
//! [`answers`] reads those, [`normalise`] takes out what differs from run to run. The packages, all of pinned versions,
//! are installed once into the cache of the tests ([`install`]), a third-party server among them ([`everything`]).

pub mod answers;
pub mod everything;
pub mod everything_image;
pub(crate) mod install;
pub mod normalise;
mod running;
pub mod script;

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

pub use answers::Answers;
pub use everything::Everything;
pub use running::Running;
pub use script::{Script, Step};

/// An official SDK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sdk {
    Python,
    TypeScript,
}

impl Sdk {
    pub const ALL: [Self; 2] = [Self::Python, Self::TypeScript];
}

impl fmt::Display for Sdk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Python => "python",
            Self::TypeScript => "typescript",
        })
    }
}

/// A revision of the protocol, and with it how a conversation begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub enum Era {
    /// Stateless: no handshake, no session.
    #[serde(rename = "2026-07-28")]
    Modern,
    /// The newest revision with `initialize`.
    #[serde(rename = "2025-11-25")]
    Legacy,
    /// The revision before, which many clients still speak.
    #[serde(rename = "2025-06-18")]
    OlderLegacy,
}

impl Era {
    pub const ALL: [Self; 3] = [Self::Modern, Self::Legacy, Self::OlderLegacy];

    /// The revision's name.
    pub const fn revision(self) -> &'static str {
        match self {
            Self::Modern => "2026-07-28",
            Self::Legacy => "2025-11-25",
            Self::OlderLegacy => "2025-06-18",
        }
    }
}

impl fmt::Display for Era {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.revision())
    }
}

/// Both SDKs, installed.
#[derive(Debug, Clone)]
pub struct Clients {
    /// The interpreter that sees the Python SDK.
    python: PathBuf,
    /// The folder that holds `node_modules`.
    node: PathBuf,
    /// What goes before every command, such as `nsenter --net=…`.
    prefix: Vec<OsString>,
}

impl Clients {
    /// Installs what is not installed yet. That takes the package registries, so it comes before a process enters a
    /// network without them.
    pub fn install() -> Result<Self> {
        Ok(Self { python: install::python()?, node: install::node()?, prefix: Vec::new() })
    }

    /// The same clients, each started by this command (`nsenter`, `--net=…`), for a network of its own.
    #[must_use]
    pub fn behind(mut self, prefix: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.prefix = prefix.into_iter().map(Into::into).collect();
        self
    }

    /// The third-party server that came with the clients.
    pub fn everything(&self) -> Everything {
        Everything::installed_in(&self.node)
    }

    /// Runs a script to its end. What a server refuses is among the answers; an error is a client that could not
    /// connect, or that broke.
    pub fn run(&self, sdk: Sdk, era: Era, url: &str, steps: &[Step]) -> Result<Answers> {
        self.start(sdk, era, url, steps)?.finish()
    }

    /// Starts a script, to be watched while it runs.
    pub fn start(&self, sdk: Sdk, era: Era, url: &str, steps: &[Step]) -> Result<Running> {
        let command = match sdk {
            Sdk::Python => self.command(&self.python, install::python_client()),
            Sdk::TypeScript => self.command("node".as_ref(), install::node_client(&self.node)?),
        };
        Running::start(command, &Script::new(url, era, steps))
            .map_err(|error| error.context(format!("the {sdk} client for {era} at {url}")))
    }

    fn command(&self, program: &std::path::Path, argument: PathBuf) -> Command {
        let mut words = self.prefix.clone();
        words.extend([program.as_os_str().to_owned(), argument.into_os_string()]);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command
    }
}
