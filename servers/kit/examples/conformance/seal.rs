//! State that travels through a client and comes back: from an attacker, for all that is known.

use serde_json::Value;
use sha2::{Digest, Sha256};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// Seals values with a key that this process alone has.
#[derive(Clone)]
pub(crate) struct Seal(Arc<[u8; 32]>);

impl Default for Seal {
    fn default() -> Self {
        let mut key = [0; 32];
        for part in key.chunks_exact_mut(8) {
            // Each state of this hasher is seeded by the operating system.
            part.copy_from_slice(&RandomState::new().hash_one(0).to_le_bytes());
        }
        Self(Arc::new(key))
    }
}

impl Seal {
    /// The value as text, with a mark that shows whether it was changed.
    pub(crate) fn close(&self, value: &Value) -> String {
        let text = value.to_string();
        format!("{}.{text}", self.mark(&text))
    }

    /// The value, if it is one of ours and whole.
    pub(crate) fn open(&self, sealed: &str) -> Option<Value> {
        let (mark, text) = sealed.split_once('.')?;
        (mark == self.mark(text)).then(|| serde_json::from_str(text).ok())?
    }

    /// Hashed twice, so that nothing can be appended.
    fn mark(&self, text: &str) -> String {
        let inner = Sha256::new().chain_update(*self.0).chain_update(text).finalize();
        let outer = Sha256::new().chain_update(*self.0).chain_update(inner).finalize();
        outer.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
    }
}
