//! The orchestrator's own settings.

use crate::environment::{EnvironmentError, Lookup};
use crate::{ServerKind, Settings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Settings of the orchestrator: how it behaves, and the servers behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct OrchestratorSettings {
    /// How it behaves; what a user sets.
    pub gateway: GatewaySettings,
    /// Milliseconds after its start for which it waits, before it is ready, for servers that start beside
    /// it. Default 1900; written by the plan.
    pub settle_milliseconds: u32,
    /// The servers whose tools it offers, sorted by name; written by the plan.
    #[schemars(extend("x-mcp-reload" = true))]
    pub backends: Vec<Backend>,
}

impl Default for OrchestratorSettings {
    fn default() -> Self {
        Self { gateway: GatewaySettings::default(), settle_milliseconds: 1900, backends: Vec::new() }
    }
}

/// How the orchestrator behaves towards clients and towards the servers behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewaySettings {
    /// Seconds that a call to a server behind it may take. Default 60.
    #[schemars(range(min = 1, max = 3600))]
    #[schemars(extend("x-mcp-reload" = true))]
    pub call_timeout_seconds: u32,
    /// Seconds that a server's list of tools is used before it is asked for again. Default 30.
    #[schemars(range(min = 1, max = 3600))]
    #[schemars(extend("x-mcp-reload" = true))]
    pub list_ttl_seconds: u32,
    /// Names (`host` or `host:port`) under which clients reach the system, besides loopback and its
    /// Service: those of an Ingress, for example.
    #[schemars(length(max = 100), inner(length(min = 1, max = 253)))]
    pub allowed_hosts: Vec<String>,
    /// Web origins (`https://app.example.com:443`) that browsers may call from. Default none.
    #[schemars(length(max = 100), inner(length(min = 1, max = 253)))]
    pub allowed_origins: Vec<String>,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            call_timeout_seconds: 60,
            list_ttl_seconds: 30,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
        }
    }
}

/// One server behind the orchestrator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// Its name in the McpSystem; the prefix of a tool name that two servers share.
    pub name: String,
    /// Its MCP endpoint.
    pub url: String,
    /// Where it tells its health, when it does; without one, an answered MCP request is health.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_url: Option<String>,
    /// The file that holds the key which this server wants, as plain text. It is read again when it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

impl Settings for OrchestratorSettings {
    const KIND: ServerKind = ServerKind::Orchestrator;

    fn apply_environment(&mut self, _lookup: &Lookup<'_>) -> Result<(), EnvironmentError> {
        Ok(())
    }
}
