//! The resource itself.

use crate::rules;
use crate::{Callers, ExtraServer, McpSystemStatus, Servers, Storage};
use kube::CustomResource;
use mcp_system_config::{LogLevel, Profiling, Resilience};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A whole system of MCP servers.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "mcpsystem.io",
    version = "v1alpha1",
    kind = "McpSystem",
    plural = "mcpsystems",
    shortname = "mcps",
    namespaced,
    status = "McpSystemStatus",
    derive = "PartialEq",
    derive = "Default",
    cel,
    doc = "A whole system of MCP servers: one endpoint, the servers behind it, and where memories are kept.",
    validation = Rule::new("self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')").message("metadata.name becomes part of Service names: at most 40 lower-case letters, digits and dashes, a letter first"),
    validation = Rule::new("!has(self.spec.callers) || self.spec.callers.secretRef.name != self.metadata.name + '-callers'").message("spec.callers.secretRef names the Secret that the operator makes for the system: put keys of your own into another one"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status", description = "Whether every server answered an MCP request"),
    printcolumn(name = "Servers", type_ = "string", json_path = ".status.readyServers", description = "Ready servers of all"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason", description = "Why it is ready or not"),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.url", description = "Where clients connect"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].message", description = "What to know", priority = 1)
)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::spec()))]
pub struct McpSystemSpec {
    /// The image of this project's own servers. Default the operator's own.
    pub image: Image,
    /// The least severe level that the servers log. Default info.
    pub log_level: LogLevel,
    /// This project's own servers.
    pub servers: Servers,
    /// Any other MCP servers behind the orchestrator.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub extra_servers: Vec<ExtraServer>,
    /// Who may call the system. Default everybody who reaches its endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callers: Option<Callers>,
    /// Where memories are kept.
    pub storage: Storage,
    /// How the servers treat what they depend on.
    #[schemars(extend("x-kubernetes-validations" = rules::resilience()))]
    pub resilience: Resilience,
    /// Whether this project's own servers can be profiled. With a port of your own, only one of them can on a laptop.
    pub profiling: Profiling,
    /// How Prometheus finds the servers.
    pub monitoring: Monitoring,
    /// Whether every server is to stop; what is stored stays. Default false.
    pub suspend: bool,
}

/// A container image of this project.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::image()))]
pub struct Image {
    /// Registry and name. Default those of the operator's own image.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 400))]
    pub repository: Option<String>,
    /// The tag. Default that of the operator's own image.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9._-]*$"))]
    pub tag: Option<String>,
    /// The digest, instead of a tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 136), regex(pattern = r"^sha(256|512):[0-9a-f]{64,128}$"))]
    pub digest: Option<String>,
    /// When it is pulled. Default IfNotPresent.
    pub pull_policy: PullPolicy,
    /// Names of Secrets that hold credentials for the registry.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), inner(length(min = 1, max = 253)))]
    pub pull_secrets: Vec<String>,
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PullPolicy {
    /// When the node does not have it.
    #[default]
    IfNotPresent,
    /// Each time a pod starts.
    Always,
    /// Never: the node must have it.
    Never,
}

impl PullPolicy {
    /// The name that the API uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::IfNotPresent => "IfNotPresent",
            Self::Always => "Always",
            Self::Never => "Never",
        }
    }
}

/// How Prometheus finds the servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Monitoring {
    /// Whether each server gets a ServiceMonitor where that API exists. Default true.
    pub enabled: bool,
    /// The time from one scrape to the next, as Prometheus writes it. Default 30s.
    #[schemars(length(min = 2, max = 16), regex(pattern = r"^([1-9][0-9]*(ms|s|m|h))+$"))]
    pub interval: String,
    /// Labels for the ServiceMonitors, where a Prometheus selects by them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 50))]
    pub labels: BTreeMap<String, String>,
}

impl Default for Monitoring {
    fn default() -> Self {
        Self { enabled: true, interval: "30s".to_owned(), labels: BTreeMap::new() }
    }
}
