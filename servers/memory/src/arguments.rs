//! What clients send: the tools' inputs, and from them values that can be used, or words on what to change.
//!
//! The doc comments of the inputs are what a model reads before it calls. Nothing here does I/O.

use crate::model::{Before, Filter, Role, Search};
use crate::moment::Moment;
use mcp_system_config::MemorySettings;
use rmcp::model::JsonObject;
use schemars::JsonSchema;
use serde::Deserialize;

/// The most entries that one call returns.
const MAX_LIMIT: u32 = 200;
/// Entries that a call returns when it names no number.
const DEFAULT_LIMIT: u32 = 10;
/// The longest id or kind, in bytes.
const MAX_NAME: usize = 256;
/// The longest life of a session: a year.
const MAX_TTL_HOURS: u32 = 8760;

/// What this server accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest content, message, context or metadata, in bytes.
    pub max_content_bytes: usize,
    /// Hours that a session lives when nobody says otherwise.
    pub session_ttl_hours: u32,
}

impl Limits {
    /// Those of the settings.
    pub fn of(settings: &MemorySettings) -> Self {
        Self {
            max_content_bytes: settings.max_content_bytes as usize,
            session_ttl_hours: settings.session_ttl_hours.clamp(1, MAX_TTL_HOURS),
        }
    }
}

/// An argument that cannot be used, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{argument} {problem}")]
pub struct Unusable {
    argument: &'static str,
    problem: String,
}

fn unusable(argument: &'static str, problem: impl Into<String>) -> Unusable {
    Unusable { argument, problem: problem.into() }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoreMemory {
    /// Who remembers: your own name or id. Only the same agent_id finds the memory again.
    #[schemars(length(min = 1, max = 256))]
    pub agent_id: String,
    /// What to remember, in words that a later search would use. One fact or event a memory is found best.
    #[schemars(length(min = 1))]
    pub content: String,
    /// Its kind, for example "fact", "preference", "decision" or "task"; searches can be limited to one.
    #[schemars(length(min = 1, max = 256), extend("default" = "general"))]
    pub memory_type: Option<String>,
    /// Anything structured to keep with it, as a JSON object, for example {"project": "apollo"}. Its words
    /// are searched too, with less weight.
    pub context: Option<JsonObject>,
    /// How much it matters, from 0 (trivial) to 1 (vital); searches can leave out what matters less.
    #[schemars(range(min = 0.0, max = 1.0), extend("default" = 0.5))]
    pub importance: Option<f64>,
    /// The session in which it came up, if it should be found by that.
    #[schemars(length(min = 1, max = 256))]
    pub session_id: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SearchMemories {
    /// Whose memories to search.
    #[schemars(length(min = 1, max = 256))]
    pub agent_id: String,
    /// Words to look for, or a whole question. A memory that holds any of them is found; rarer words count
    /// more, and forms of a word (plan, plans, planned) count as one. There are no operators.
    pub query: String,
    /// The most memories to return.
    #[schemars(range(min = 1, max = 200), extend("default" = 10))]
    pub limit: Option<u32>,
    /// Only memories of this kind.
    #[schemars(length(min = 1, max = 256))]
    pub memory_type: Option<String>,
    /// Only memories that matter at least this much, from 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_importance: Option<f64>,
    /// Only memories stored at this time or later: RFC 3339, such as 2026-11-23T09:00:00Z or 2026-11-23.
    pub since: Option<String>,
    /// Only memories stored before this time: RFC 3339, such as 2026-11-23T09:00:00Z or 2026-11-23.
    pub until: Option<String>,
    /// Only memories stored with this session_id.
    #[schemars(length(min = 1, max = 256))]
    pub session_id: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GetRecentMemories {
    /// Whose memories to list.
    #[schemars(length(min = 1, max = 256))]
    pub agent_id: String,
    /// The most memories to return.
    #[schemars(range(min = 1, max = 200), extend("default" = 10))]
    pub limit: Option<u32>,
    /// Only memories of this kind.
    #[schemars(length(min = 1, max = 256))]
    pub memory_type: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoreConversation {
    /// The conversation: an id from create_session, or one of your own choosing. An unknown one begins a
    /// session that goes on for as long as messages are added.
    #[schemars(length(min = 1, max = 256))]
    pub session_id: String,
    /// Who stores the message: your own name or id.
    #[schemars(length(min = 1, max = 256))]
    pub agent_id: String,
    /// The person who takes part.
    #[schemars(length(min = 1, max = 256))]
    pub user_id: Option<String>,
    /// What was said.
    #[schemars(length(min = 1))]
    pub message: String,
    /// Who said it.
    pub role: Role,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GetConversationHistory {
    /// The conversation to read.
    #[schemars(length(min = 1, max = 256))]
    pub session_id: String,
    /// The most messages to return; the newest are taken, and returned oldest first.
    #[schemars(range(min = 1, max = 200), extend("default" = 10))]
    pub limit: Option<u32>,
    /// Only messages before this one: the message_id of the oldest message you have, or an RFC 3339 time.
    pub before: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateSession {
    /// Who begins the session: your own name or id.
    #[schemars(length(min = 1, max = 256))]
    pub agent_id: String,
    /// The person it is for.
    #[schemars(length(min = 1, max = 256))]
    pub user_id: Option<String>,
    /// Hours until it ends; after that it can be read, but not written to. The default is the server's.
    #[schemars(range(min = 1, max = 8760))]
    pub ttl_hours: Option<u32>,
    /// Anything to keep with it, as a JSON object.
    pub metadata: Option<JsonObject>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GetMemoryStatistics {
    /// Whose memories to count; left out, those of all agents.
    #[schemars(length(min = 1, max = 256))]
    pub agent_id: Option<String>,
}

impl SearchMemories {
    /// What to search for.
    pub(crate) fn search(self) -> Result<Search, Unusable> {
        Ok(Search {
            agent_id: name("agent_id", self.agent_id)?,
            query: self.query,
            limit: limit(self.limit)?,
            filter: Filter {
                memory_type: optional("memory_type", self.memory_type)?,
                session_id: optional("session_id", self.session_id)?,
                min_importance: self.min_importance.map(|it| fraction("min_importance", it)).transpose()?,
                since: self.since.map(|text| moment("since", &text)).transpose()?,
                until: self.until.map(|text| moment("until", &text)).transpose()?,
            },
        })
    }
}

/// An id or a kind: some text, not too long.
pub(crate) fn name(argument: &'static str, text: String) -> Result<String, Unusable> {
    if text.trim().is_empty() {
        return Err(unusable(argument, "is empty; give it some text"));
    }
    if text.len() > MAX_NAME {
        return Err(unusable(
            argument,
            format!("has {} bytes; the most that can be used is {MAX_NAME}", text.len()),
        ));
    }
    Ok(text)
}

/// An id or a kind that may be missing.
pub(crate) fn optional(argument: &'static str, text: Option<String>) -> Result<Option<String>, Unusable> {
    text.map(|text| name(argument, text)).transpose()
}

/// A content or a message.
pub(crate) fn content(argument: &'static str, text: String, limits: Limits) -> Result<String, Unusable> {
    if text.trim().is_empty() {
        return Err(unusable(argument, "is empty; there is nothing to store"));
    }
    fits(argument, text.len(), limits)?;
    Ok(text)
}

/// A context or metadata.
pub(crate) fn object(
    argument: &'static str,
    object: Option<JsonObject>,
    limits: Limits,
) -> Result<Option<JsonObject>, Unusable> {
    if let Some(object) = &object {
        let text = serde_json::to_string(object).map_err(|error| unusable(argument, error.to_string()))?;
        fits(argument, text.len(), limits)?;
    }
    Ok(object)
}

fn fits(argument: &'static str, bytes: usize, limits: Limits) -> Result<(), Unusable> {
    let max = limits.max_content_bytes;
    if bytes > max {
        return Err(unusable(
            argument,
            format!("has {bytes} bytes; this server takes at most {max}, so split it"),
        ));
    }
    Ok(())
}

/// A number from 0 to 1.
pub(crate) fn fraction(argument: &'static str, number: f64) -> Result<f64, Unusable> {
    if (0.0..=1.0).contains(&number) {
        return Ok(number);
    }
    Err(unusable(argument, format!("is {number}; it must be a number from 0 to 1")))
}

/// How many entries to return.
pub(crate) fn limit(limit: Option<u32>) -> Result<u32, Unusable> {
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    if (1..=MAX_LIMIT).contains(&limit) {
        return Ok(limit);
    }
    Err(unusable("limit", format!("is {limit}; it must be a number from 1 to {MAX_LIMIT}")))
}

/// How long a session lives.
pub(crate) fn ttl_hours(hours: Option<u32>, limits: Limits) -> Result<u32, Unusable> {
    let hours = hours.unwrap_or(limits.session_ttl_hours);
    if (1..=MAX_TTL_HOURS).contains(&hours) {
        return Ok(hours);
    }
    Err(unusable("ttl_hours", format!("is {hours}; it must be a number from 1 to {MAX_TTL_HOURS}")))
}

/// The point before which a history is read. What is no time is taken for a message's id.
pub(crate) fn before(text: Option<String>) -> Result<Option<Before>, Unusable> {
    let Some(text) = optional("before", text)? else { return Ok(None) };
    Ok(Some(text.parse().map_or_else(|_| Before::Message(text), Before::Moment)))
}

fn moment(argument: &'static str, text: &str) -> Result<Moment, Unusable> {
    text.parse().map_err(|_| {
        let text: String = text.chars().take(40).collect();
        unusable(
            argument,
            format!("is {text:?}; it must be a time such as 2026-11-23T09:00:00Z or 2026-11-23"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const LIMITS: Limits = Limits { max_content_bytes: 10, session_ttl_hours: 24 };

    fn search(arguments: serde_json::Value) -> Result<Search, String> {
        let input: SearchMemories = serde_json::from_value(arguments).map_err(|error| error.to_string())?;
        input.search().map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_left_out_or_null_gets_its_default() {
        let expected = Search {
            agent_id: "a".into(),
            query: "q".into(),
            limit: DEFAULT_LIMIT,
            filter: Filter::default(),
        };
        assert_eq!(search(json!({"agent_id": "a", "query": "q"})), Ok(expected.clone()));
        assert_eq!(
            search(json!({"agent_id": "a", "query": "q", "limit": null, "since": null})),
            Ok(expected)
        );
    }

    #[test]
    fn what_cannot_be_used_is_named_with_what_to_change() {
        for (arguments, expected) in [
            (json!({"agent_id": " ", "query": ""}), "agent_id is empty; give it some text"),
            (
                json!({"agent_id": "a", "query": "", "limit": 0}),
                "limit is 0; it must be a number from 1 to 200",
            ),
            (
                json!({"agent_id": "a", "query": "", "min_importance": 1.5}),
                "min_importance is 1.5; it must be a number from 0 to 1",
            ),
            (
                json!({"agent_id": "a", "query": "", "until": "tomorrow"}),
                "until is \"tomorrow\"; it must be a time such as 2026-11-23T09:00:00Z or 2026-11-23",
            ),
        ] {
            assert_eq!(search(arguments), Err(expected.to_owned()));
        }
        let typo = search(json!({"agent_id": "a", "query": "", "agent": "b"})).expect_err("unknown");
        assert!(typo.contains("unknown field `agent`, expected one of `agent_id`"), "{typo}");
        assert_eq!(
            name("user_id", "x".repeat(300)).expect_err("long").to_string(),
            "user_id has 300 bytes; the most that can be used is 256"
        );
        assert_eq!(
            content("message", "x".repeat(11), LIMITS).expect_err("large").to_string(),
            "message has 11 bytes; this server takes at most 10, so split it"
        );
        assert!(object("context", json!({"key": "value"}).as_object().cloned(), LIMITS).is_err());
        assert!(fraction("importance", f64::NAN).is_err());
        assert!(ttl_hours(Some(0), LIMITS).is_err());
    }

    #[test]
    fn a_history_is_read_before_a_time_or_a_message() {
        let time = "2026-11-23".parse().expect("a time");
        assert_eq!(before(Some("2026-11-23".into())), Ok(Some(Before::Moment(time))));
        assert_eq!(before(Some("0193-id".into())), Ok(Some(Before::Message("0193-id".into()))));
        assert_eq!(before(None), Ok(None));
    }
}
