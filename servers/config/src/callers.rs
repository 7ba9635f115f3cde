//! Who may call a server, and the file of keys that tells callers apart.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Stands for every tenant in the list of a key.
pub const EVERY_TENANT: &str = "*";
/// The shortest key: anything shorter can be found by trying.
const SHORTEST_KEY: usize = 16;
/// The longest name of a principal or a tenant.
const LONGEST_NAME: usize = 128;
/// The longest name of an agent, as the memory server takes them.
const LONGEST_AGENT: usize = 256;
/// The most agents of a key, and of a header, in which they go from server to server.
pub const MOST_AGENTS: usize = 100;

/// Who may call a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Callers {
    /// The file with the keys, one of which each call must carry. Without it there is one principal, `owner`,
    /// to whom everything belongs. A running server takes over what changes in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys_file: Option<PathBuf>,
    /// From where calls are taken as long as there is no keys file. Default loopback.
    pub anonymous: Anonymous,
}

/// From where calls without a key are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Anonymous {
    /// From this machine alone, whatever address the server is bound to.
    #[default]
    Loopback,
    /// From wherever the port is reached: for a network that something else keeps strangers out of.
    Network,
}

/// The file of keys: YAML or JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// Every key; a principal may have several, such as while one replaces another.
    pub keys: Vec<Key>,
}

/// One key.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Whom the key stands for.
    pub principal: String,
    /// The key itself. Either this or `sha256`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The SHA-256 of the key in hexadecimal, for files that must not give the key away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The tenants that may be touched, the first of which is meant where a call names none; `*` stands for
    /// all, and then `default` is meant.
    pub tenants: Vec<String>,
    /// The agents that may be named, each by its whole name; without the list, every agent of the tenants.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub agents: Option<Vec<String>>,
}

/// A list that is there is a list: one that somebody began and left at `null` must not stand for all.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    Vec::deserialize(deserializer).map(Some)
}

/// Whoever prints a key must not print what opens the door.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("principal", &self.principal)
            .field("tenants", &self.tenants)
            .field("agents", &self.agents)
            .finish_non_exhaustive()
    }
}

impl Keys {
    /// Reads and checks the text of a file. Errors never repeat what the file holds, which may be a key.
    ///
    /// # Errors
    /// Says which entry is wrong and what it should be.
    pub fn parse(text: &str) -> Result<Self, String> {
        let keys: Self = serde_yaml::from_str(text).map_err(|error| {
            let place = error
                .location()
                .map(|at| format!(" (line {}, column {})", at.line(), at.column()))
                .unwrap_or_default();
            format!(
                "it is not of the form `keys: [{{principal: NAME, key: TEXT or sha256: HEX, tenants: [NAME, ...], \
                 agents: [NAME, ...]}}]`, where agents may be left out{place}"
            )
        })?;
        let mut seen = BTreeMap::new();
        for (index, key) in keys.keys.iter().enumerate() {
            key.check().map_err(|what| format!("keys[{index}]: {what}"))?;
            let secret = (key.key.clone(), key.sha256.as_ref().map(|hex| hex.to_ascii_lowercase()));
            if let Some(other) = seen.insert(secret, index) {
                return Err(format!(
                    "keys[{index}] is the same key as keys[{other}]; each needs one of its own"
                ));
            }
        }
        Ok(keys)
    }

    /// The text of the file.
    pub fn to_text(&self) -> String {
        serde_yaml::to_string(self).unwrap_or_default()
    }
}

impl Key {
    fn check(&self) -> Result<(), String> {
        if !is_name(&self.principal) {
            return Err(format!("the principal must be {}", name_rule()));
        }
        match (&self.key, &self.sha256) {
            (Some(key), None) if key.len() < SHORTEST_KEY => {
                return Err(format!("the key is shorter than {SHORTEST_KEY} characters; make a random one"));
            }
            (Some(key), None) if !key.bytes().all(|byte| byte.is_ascii_graphic()) => {
                return Err(
                    "the key has characters that a header cannot carry; use letters, digits and signs \
                            without blanks"
                        .to_owned(),
                );
            }
            (None, Some(hex)) if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                return Err("sha256 must be 64 hexadecimal digits".to_owned());
            }
            (Some(_), None) | (None, Some(_)) => {}
            _ => return Err("give either key or sha256".to_owned()),
        }
        if self.tenants.is_empty() {
            return Err(format!("name at least one tenant, or \"{EVERY_TENANT}\" for all"));
        }
        if let Some(tenant) = self.tenants.iter().find(|tenant| *tenant != EVERY_TENANT && !is_name(tenant)) {
            return Err(format!("the tenant {tenant:?} must be {}", name_rule()));
        }
        let Some(agents) = &self.agents else { return Ok(()) };
        if !(1..=MOST_AGENTS).contains(&agents.len()) {
            return Err(format!("name 1 to {MOST_AGENTS} agents, or leave agents out for every one"));
        }
        match agents.iter().find(|agent| !is_agent(agent)) {
            Some(agent) => Err(format!("the agent {agent:?} must be {}", agent_rule())),
            None => Ok(()),
        }
    }
}

/// Whether a text can name an agent of a key: one that a list in a header can hold.
pub fn is_agent(text: &str) -> bool {
    (1..=LONGEST_AGENT).contains(&text.len())
        && text.trim() == text
        && text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && !b",*".contains(&byte))
}

/// What [`is_agent`] asks for, in words.
pub fn agent_rule() -> String {
    format!(
        "the whole name of one agent: 1 to {LONGEST_AGENT} characters of ASCII, no comma and no * among them, and no \
         blank at either end"
    )
}

/// Whether a text can name a principal or a tenant.
pub fn is_name(text: &str) -> bool {
    (1..=LONGEST_NAME).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte))
}

/// What [`is_name`] asks for, in words.
pub fn name_rule() -> String {
    format!("1 to {LONGEST_NAME} letters, digits and any of . _ - @")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0123456789abcdef";

    #[test]
    fn keys_are_read_as_text_or_as_a_hash_and_written_back() {
        let hex = "a".repeat(64);
        let text = format!(
            "keys: [{{principal: a, key: {KEY}, tenants: [x, y]}}, {{principal: b, sha256: {hex}, tenants: ['*']}}]"
        );
        let keys = Keys::parse(&text).expect("reads");
        assert_eq!(keys.keys[0].key.as_deref(), Some(KEY));
        assert_eq!(keys.keys[1].tenants, [EVERY_TENANT]);
        assert_eq!(Keys::parse(&keys.to_text()), Ok(keys.clone()));
        assert!(!format!("{keys:?}").contains(KEY), "a key was printed");
        assert_eq!(Keys::parse("keys: []").expect("nobody may call").keys, []);
    }

    #[test]
    fn a_key_is_for_the_agents_that_it_lists_or_for_every_one_without_a_list() {
        let text = format!(
            "keys: [{{principal: a, key: {KEY}, tenants: [x], agents: [b, c/1, two words]}}, \
             {{principal: b, key: {KEY}2, tenants: [x]}}]"
        );
        let keys = Keys::parse(&text).expect("reads");
        let listed: Vec<String> = ["b", "c/1", "two words"].map(str::to_owned).into();
        assert_eq!((&keys.keys[0].agents, &keys.keys[1].agents), (&Some(listed), &None));
        assert_eq!(Keys::parse(&keys.to_text()), Ok(keys));
        // What was begun and left empty is no list of all.
        for unsaid in ["", " null", " ~", " []"] {
            let text = format!("keys:\n- principal: a\n  key: {KEY}\n  tenants: [x]\n  agents:{unsaid}\n");
            Keys::parse(&text).expect_err(unsaid);
        }
    }

    #[test]
    fn what_is_wrong_is_named_by_its_place_and_never_repeated() {
        let of = |entry: &str| Keys::parse(&format!("keys: [{entry}]")).expect_err(entry);
        for (entry, said) in [
            (
                format!("{{principal: '', key: {KEY}, tenants: [x]}}"),
                "keys[0]: the principal must be 1 to 128",
            ),
            ("{principal: a, key: short, tenants: [x]}".into(), "shorter than 16"),
            (format!("{{principal: a, key: '{KEY} x', tenants: [x]}}"), "a header cannot carry"),
            ("{principal: a, sha256: abc, tenants: [x]}".into(), "64 hexadecimal"),
            ("{principal: a, tenants: [x]}".into(), "either key or sha256"),
            (format!("{{principal: a, key: {KEY}, tenants: []}}"), "at least one tenant"),
            (format!("{{principal: a, key: {KEY}, tenants: ['a b']}}"), "the tenant \"a b\" must be"),
            (
                format!("{{principal: a, key: {KEY}, tenants: [x], agents: []}}"),
                "leave agents out for every one",
            ),
            (
                format!("{{principal: a, key: {KEY}, tenants: [x], agents: ['team-*']}}"),
                "the agent \"team-*\" must be the whole name of one agent",
            ),
            (
                format!("{{principal: a, key: {KEY}, tenants: [x], agents: ['a,b']}}"),
                "the agent \"a,b\" must be",
            ),
            (
                format!(
                    "{{principal: a, key: {KEY}, tenants: [x]}}, {{principal: b, key: {KEY}, tenants: [x]}}"
                ),
                "keys[1] is the same key as keys[0]",
            ),
        ] {
            let error = of(&entry);
            assert!(error.contains(said), "{entry}: {error}");
            assert!(!error.contains(KEY), "{error}");
        }
        for text in ["", "keys: 0123456789abcdef", "keys: [{prinzipal: x}]", "[", "key: 0123456789abcdef"] {
            let error = Keys::parse(text).expect_err(text);
            assert!(error.contains("it is not of the form") && !error.contains(KEY), "{error}");
        }
    }
}
