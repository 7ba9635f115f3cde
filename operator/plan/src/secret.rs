//! Files with secrets that servers read. A plan names them and never holds what stands in them.

use mcp_system_crds::config::{EVERY_TENANT, Key, Keys, ServerKind};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// The file with the keys that a server behind the orchestrator takes.
pub const KEYS_FILE: &str = "keys.yaml";
/// The file with the key that the orchestrator shows to the servers behind it.
pub const ORCHESTRATOR_KEY: &str = "orchestrator";

/// A file with a secret that a server reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretFile {
    /// Its path below the folder that holds what servers read ([`crate::Target`]).
    pub path: String,
    /// Where its content comes from.
    pub source: SecretSource,
}

/// Where the content of a secret file comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum SecretSource {
    /// A key of the Secret that is made for the system ([`CallerKeys`]).
    Made {
        /// The Secret's name.
        secret: String,
        /// The key.
        key: String,
    },
    /// A key of a Secret that a user keeps.
    Given {
        /// The Secret's name.
        secret: String,
        /// The key.
        key: String,
        /// Where a laptop, which has no Secrets, takes it from.
        on_laptop: FromEnvironment,
    },
}

/// A secret of a user's on a laptop: told by an environment variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum FromEnvironment {
    /// The variable of this name holds the text.
    Text(String),
    /// The variable of this name holds the path of the file.
    Path(String),
    /// Either.
    TextOrPath {
        /// The variable that holds the text. It goes before the other.
        text: String,
        /// The variable that holds the path of the file.
        path: String,
    },
}

/// The name of the Secret that is made for a system.
pub(crate) fn made_name(system: &str) -> String {
    format!("{system}-callers")
}

/// The key with which a system's orchestrator calls the servers behind it, in the two files that tell it to
/// either side: the servers learn only its hash.
#[derive(Clone, PartialEq, Eq)]
pub struct CallerKeys {
    key: String,
}

impl std::fmt::Debug for CallerKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallerKeys").finish_non_exhaustive()
    }
}

impl CallerKeys {
    /// A key of these random bytes, which nobody else must know.
    pub fn of_random(bytes: &[u8; 32]) -> Self {
        Self { key: hex(bytes) }
    }

    /// The name and the text of each file.
    pub fn files(&self) -> [(&'static str, String); 2] {
        let keys = Keys {
            keys: vec![Key {
                principal: ServerKind::Orchestrator.name().to_owned(),
                key: None,
                sha256: Some(hex(&Sha256::digest(self.key.as_bytes()))),
                tenants: vec![EVERY_TENANT.to_owned()],
                agents: None,
            }],
        };
        [(KEYS_FILE, keys.to_text()), (ORCHESTRATOR_KEY, self.key.clone())]
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_learn_the_hash_of_the_key_and_the_orchestrator_the_key() {
        let keys = CallerKeys::of_random(&[7; 32]);
        let [(_, servers), (_, orchestrator)] = keys.files();
        assert_eq!(orchestrator, "07".repeat(32));
        assert!(!servers.contains(&orchestrator));
        let read = Keys::parse(&servers).expect("a server reads it");
        assert_eq!(read.keys[0].tenants, ["*"]);
        assert!(servers.contains(&hex(&Sha256::digest(orchestrator.as_bytes()))), "{servers}");
        assert!(!format!("{keys:?}").contains("0707"));
    }
}
