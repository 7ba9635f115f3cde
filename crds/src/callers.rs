//! Who may call a system.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who may call a system at its endpoint: the orchestrator, or each of its own servers where that is disabled.
/// The servers behind the orchestrator take only its calls, with a key that is made for each system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Callers {
    /// The Secret with the keys: its key keys.yaml holds
    /// `keys: [{principal: NAME, key: TEXT or sha256: HEX, tenants: [NAME, ...], agents: [NAME, ...]}]`; without
    /// agents a key is for every agent of its tenants. Changes reach the servers
    /// without a restart. On a laptop the environment variable MCP_CALLERS_FILE names a file of that form.
    pub secret_ref: SecretReference,
}

/// A Secret in the system's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretReference {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}
