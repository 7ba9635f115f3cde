//! Any other MCP server behind the orchestrator.

use crate::rules;
use crate::{PullPolicy, Workload};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An MCP server that is not this project's: exactly one of `image`, `process` and `url`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::extra_server()))]
pub struct ExtraServer {
    /// Its name, unique in the system.
    #[schemars(length(min = 1, max = 22), regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// A container image. A laptop runs it with docker or podman where one is present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 500))]
    pub image: Option<String>,
    /// When the image is pulled. Default IfNotPresent.
    #[serde(default)]
    pub image_pull_policy: PullPolicy,
    /// A program on the laptop; a cluster leaves it out and says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessCommand>,
    /// The MCP endpoint of a server that runs elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048), regex(pattern = r"^https?://.+"))]
    pub url: Option<String>,
    /// The port that the image or process listens on. It learns it from PORT, and from $(PORT) in args.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// Arguments for the image or process.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(max = 4096)))]
    pub args: Vec<String>,
    /// The path of its MCP endpoint. Default /mcp.
    #[serde(default = "default_path")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^/.*$"))]
    pub path: String,
    /// A path that answers 2xx while it is healthy. Without one, its open port is its health on a
    /// cluster; an answered MCP request is asked for in both places.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^/.*$"))]
    pub health_path: Option<String>,
    #[serde(flatten)]
    pub workload: Workload,
}

/// A program on the laptop.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProcessCommand {
    /// The program: a name on the PATH, or a path; a relative one starts at the McpSystem file.
    #[schemars(length(min = 1, max = 4096))]
    pub command: String,
    /// The folder in which it runs; a relative one starts at the McpSystem file. Default that file's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub working_directory: Option<String>,
}

fn default_path() -> String {
    "/mcp".to_owned()
}
