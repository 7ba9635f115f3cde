//! What was seen of a system, in the terms that a cluster and a laptop share.

use crate::Finding;
use mcp_system_crds::Reason;
use std::collections::{BTreeMap, BTreeSet};

/// What was seen of a system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Each server and remote by name.
    pub servers: BTreeMap<String, ObservedServer>,
    /// What kept the plan from being carried out: refused objects, names that others hold.
    pub problems: Vec<Finding>,
    /// What keeps failing and is tried again: the plan is not carried out yet.
    pub setbacks: Vec<Finding>,
    /// What was asked for and is not given, though the system works without it.
    pub shortfalls: Vec<Finding>,
    /// The embedded store of the memory. A plan depends on it, so it is looked for first.
    pub embedded: Embedded,
    /// The environment variables that servers have besides their own: those of whoever starts them on a laptop. A plan
    /// depends on them too.
    pub variables: BTreeSet<String>,
    /// The OpenAPI documents that tools name as files, by path: the text of each, or why it cannot be read. A plan depends
    /// on them too, and one that is not here is not judged.
    pub documents: BTreeMap<String, Result<String, String>>,
}

/// What was seen of the embedded store in which memories may lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Embedded {
    /// There is none.
    #[default]
    Absent,
    /// It is there.
    Present,
    /// It is there, and all that it held was moved into PostgreSQL.
    Moved,
}

/// What was seen of one server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedServer {
    /// Copies that are ready.
    pub ready: u32,
    /// Copies that exist, ready or not; a stopped system has none.
    pub running: u32,
    /// Copies that are wanted now: more than the plan asks for where an autoscaler decided so.
    pub wanted: u32,
    /// Whether every copy that exists is one of the current plan.
    pub current: bool,
    /// The version that it told.
    pub version: Option<String>,
    /// Whether it answered an MCP request; `None` until it was asked.
    pub answered: Option<bool>,
    /// How many tools it listed.
    pub tools: Option<u32>,
    /// What of its settings it told that it cannot use.
    pub warnings: Vec<String>,
    /// Why it cannot become ready by itself.
    pub failure: Option<Failure>,
}

/// What was seen of the servers that an earlier status names, where no plan says which there should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Those that run here, by name.
    pub running: BTreeMap<String, ObservedServer>,
    /// Those that run elsewhere, by name: what they told.
    pub elsewhere: BTreeMap<String, ObservedServer>,
}

/// Why a server cannot become ready until somebody changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The reason that conditions carry.
    pub reason: Reason,
    /// What is wrong. Holds nothing that changes by itself, such as a count of restarts.
    pub message: String,
}
