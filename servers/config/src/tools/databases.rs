//! Which databases may be asked.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A database. The tools only read it; a user's own tool may write where it says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Database {
    /// The name by which tools mean it.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z]([-_a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// What it holds, for those who choose among databases.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub description: String,
    /// Where it is: postgres://user@host:5432/database or sqlite:/path/to/file.db. A password does not belong
    /// here. Give PostgreSQL a user that may do just what the tools should.
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,
    /// The environment variable that holds the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub password_env: Option<String>,
    /// The most rows of one answer. Default 1000.
    #[serde(default = "default_max_rows")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_rows: u32,
    /// The most bytes of one answer. Default 1 MiB.
    #[serde(default = "default_max_bytes")]
    #[schemars(range(min = 1024, max = 104_857_600))]
    pub max_bytes: u32,
    /// Seconds after which a statement is ended. Default 10.
    #[serde(default = "default_timeout_seconds")]
    #[schemars(range(min = 1, max = 600))]
    pub timeout_seconds: u32,
    /// The most connections at once; callers beyond that wait their turn, with PostgreSQL for as long as
    /// resilience.bulkhead.maxWaitMilliseconds says. Default 5.
    #[serde(default = "default_max_connections")]
    #[schemars(range(min = 1, max = 100))]
    pub max_connections: u32,
}

const fn default_max_rows() -> u32 {
    1000
}

const fn default_max_bytes() -> u32 {
    1 << 20
}

const fn default_timeout_seconds() -> u32 {
    10
}

const fn default_max_connections() -> u32 {
    5
}
