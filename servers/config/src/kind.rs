//! Which servers exist, and the names and ports that are theirs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// One of this project's own servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ServerKind {
    /// The one endpoint before all the others.
    Orchestrator,
    /// Memories, conversations, sessions.
    Memory,
    /// A registry of tools.
    Tools,
    /// Direct access to a Weaviate database.
    WeaviateDirect,
}

impl ServerKind {
    /// Every server, in the order in which people read them.
    pub const ALL: [Self; 4] = [Self::Orchestrator, Self::Memory, Self::Tools, Self::WeaviateDirect];

    /// The name on the command line, in URLs, object names and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Orchestrator => "orchestrator",
            Self::Memory => "memory",
            Self::Tools => "tools",
            Self::WeaviateDirect => "weaviate-direct",
        }
    }

    /// The name as metrics and environment variables spell it.
    pub fn snake_case(self) -> String {
        self.name().replace('-', "_")
    }

    /// The port it listens on when nothing else is said.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Orchestrator => 8002,
            Self::Memory => 8003,
            Self::Tools => 8006,
            Self::WeaviateDirect => 8001,
        }
    }

    /// The environment variable that overrides its port.
    pub fn port_variable(self) -> String {
        format!("MCP_{}_PORT", self.snake_case().to_uppercase())
    }
}

impl fmt::Display for ServerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ServerKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("there is no server called {name:?}; the servers are {names}")
        })
    }
}
