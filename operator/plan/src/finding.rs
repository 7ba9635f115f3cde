//! Something that a person should know about a system.

use mcp_system_crds::Reason;
use serde::Serialize;

/// What is wrong, in one sentence that says where it stands and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The reason that conditions and Events carry.
    pub reason: Reason,
    /// The sentence.
    pub message: String,
}

impl Finding {
    /// A finding.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

impl Serialize for Finding {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}: {}", self.reason.name(), self.message))
    }
}
