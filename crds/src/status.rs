//! What the operator, or laptop mode, says of a system.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What was last seen of a system. Holds nothing that changes by itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct McpSystemStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Reconciling, Stalled and Degraded.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Where clients connect: the orchestrator's MCP endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Ready servers of all, as `3/3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_servers: Option<String>,
    /// Each server by itself.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub servers: Vec<ServerStatus>,
}

/// What was last seen of one server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ServerStatus {
    /// Its name.
    pub name: String,
    /// Copies that should run; the fewest that should, where an autoscaler decides.
    pub desired: i32,
    /// Copies that are ready.
    pub ready: i32,
    /// The version that it told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Its MCP endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Whether it answered an MCP request; absent until it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered: Option<bool>,
    /// How many tools it offers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<i32>,
    /// What keeps it from being ready, or why it was left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What of its settings it told that it cannot use; it works without.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// The types of conditions, as kstatus reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionType {
    /// Every server of the current spec is ready and answered an MCP request.
    Ready,
    /// The spec is being carried out.
    Reconciling,
    /// The spec cannot be carried out until somebody changes something.
    Stalled,
    /// Something that was asked for is missing or failing.
    Degraded,
}

impl ConditionType {
    /// Every type, in the order in which they stand in a status.
    pub const ALL: [Self; 4] = [Self::Ready, Self::Reconciling, Self::Stalled, Self::Degraded];

    /// The name that a condition carries.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::Degraded => "Degraded",
        }
    }
}

/// Why a condition is as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// All servers are ready.
    AllServersReady,
    /// Nothing is being changed.
    UpToDate,
    /// Nothing is wrong.
    NothingWrong,
    /// Servers are starting or being replaced.
    RollingOut,
    /// Some servers are not ready.
    ServersNotReady,
    /// A server runs but does not answer MCP requests.
    McpNotAnswered,
    /// Pods or processes of a server cannot start, or end again and again.
    ServerFailing,
    /// A roll-out did not finish in time.
    ProgressDeadlineExceeded,
    /// The system is suspended.
    Suspended,
    /// The spec asks for something that cannot work.
    InvalidSpec,
    /// The spec asks for something that this version does not offer.
    NotSupported,
    /// An object that is not this system's stands where one of its own should.
    ObjectNotOurs,
    /// The API refused a write, or goes on failing.
    ApplyFailed,
    /// Somebody else changes an object of this system back each time.
    Contested,
    /// A part of the spec is left out in this place.
    LeftOut,
    /// Settings of the tools server cannot work; what they are about is left out.
    InvalidTools,
    /// A server cannot use a part of its settings, as it told itself.
    InvalidSettings,
    /// The autoscaler of a server cannot decide how many copies run.
    AutoscalerFailing,
}

impl Reason {
    /// The name that a condition carries.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AllServersReady => "AllServersReady",
            Self::UpToDate => "UpToDate",
            Self::NothingWrong => "NothingWrong",
            Self::RollingOut => "RollingOut",
            Self::ServersNotReady => "ServersNotReady",
            Self::McpNotAnswered => "McpNotAnswered",
            Self::ServerFailing => "ServerFailing",
            Self::ProgressDeadlineExceeded => "ProgressDeadlineExceeded",
            Self::Suspended => "Suspended",
            Self::InvalidSpec => "InvalidSpec",
            Self::NotSupported => "NotSupported",
            Self::ObjectNotOurs => "ObjectNotOurs",
            Self::ApplyFailed => "ApplyFailed",
            Self::Contested => "Contested",
            Self::LeftOut => "LeftOut",
            Self::InvalidTools => "InvalidTools",
            Self::InvalidSettings => "InvalidSettings",
            Self::AutoscalerFailing => "AutoscalerFailing",
        }
    }
}
