//! What clients send: the tools' inputs, and from them values that can be used, or words on what to change.
//!
//! The doc comments of the inputs are what a model reads before it calls. Nothing here does I/O.

mod checks;

use crate::engine::Search;
use crate::model::{Filter, Kind, Role};
pub(crate) use checks::*;
use mcp_system_config::MemorySettings;
use rmcp::model::JsonObject;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most entries that one call returns.
const MAX_LIMIT: u32 = 200;
/// Entries that a call returns when it names no number.
const DEFAULT_LIMIT: u32 = 10;
/// How much recency and importance change a score when a call does not say.
const RECENCY_WEIGHT: f64 = 0.02;
/// See above.
const IMPORTANCE_WEIGHT: f64 = 0.05;
/// The longest id or kind, in bytes.
const MAX_NAME: usize = 256;
/// Bytes of a query.
const MAX_QUERY: usize = 16 << 10;
/// The longest life of a session: a year.
const MAX_TTL_HOURS: u32 = 8760;

/// What this server accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest content, message, context or metadata, in bytes.
    pub max_content_bytes: usize,
    /// Hours that a session lives when nobody says otherwise.
    pub session_ttl_hours: u32,
    /// The most memories of one call that are written at once.
    pub batch: usize,
}

impl Limits {
    /// Those of the settings.
    pub fn of(settings: &MemorySettings) -> Self {
        Self {
            max_content_bytes: settings.max_content_bytes as usize,
            session_ttl_hours: settings.session_ttl_hours.clamp(1, MAX_TTL_HOURS),
            batch: settings.batch_size.max(1) as usize,
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
    /// The session in which it came up, if it should be found by that. Left out, a "session_id" or "session" in the context is taken.
    #[schemars(length(min = 1, max = 256))]
    pub session_id: Option<String>,
    /// Any text that is new for each memory and the same when a call is repeated: the memory is then stored once.
    #[schemars(length(min = 1, max = 256))]
    pub idempotency_key: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoreMemoryBatch {
    /// Who remembers: your own name or id.
    #[schemars(length(min = 1, max = 256))]
    pub agent_id: String,
    /// What to remember: up to 1000 memories. One that cannot be used refuses the whole call.
    #[schemars(length(min = 1, max = 1000))]
    pub memories: Vec<BatchMemory>,
}

/// One memory of a batch; see store_memory.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchMemory {
    /// What to remember.
    #[schemars(length(min = 1))]
    pub content: String,
    /// Its kind, for example "fact" or "preference".
    #[schemars(length(min = 1, max = 256), extend("default" = "general"))]
    pub memory_type: Option<String>,
    /// Anything structured to keep with it.
    pub context: Option<JsonObject>,
    /// How much it matters, from 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0), extend("default" = 0.5))]
    pub importance: Option<f64>,
    /// The session in which it came up.
    #[schemars(length(min = 1, max = 256))]
    pub session_id: Option<String>,
    /// Makes a repeated call harmless for this memory.
    #[schemars(length(min = 1, max = 256))]
    pub idempotency_key: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateMemory {
    /// Whose memory.
    #[schemars(length(min = 1, max = 256))]
    pub agent_id: String,
    /// Which one, by the memory_id that store_memory or a search told.
    #[schemars(length(min = 1, max = 256))]
    pub memory_id: String,
    /// Its new content; left out, it stays. The same holds for the others.
    #[schemars(length(min = 1))]
    pub content: Option<String>,
    /// Its new kind.
    #[schemars(length(min = 1, max = 256))]
    pub memory_type: Option<String>,
    /// Its new context, in place of the whole old one.
    pub context: Option<JsonObject>,
    /// Its new importance, from 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub importance: Option<f64>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeleteMemory {
    /// Whose memory.
    #[schemars(length(min = 1, max = 256))]
    pub agent_id: String,
    /// Which one; the id of a message deletes that message.
    #[schemars(length(min = 1, max = 256))]
    pub memory_id: String,
}

/// What to do about a scope that has grown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Optimisation {
    /// Merge near-duplicates and put away what is old and unimportant.
    #[default]
    Optimize,
    /// Tell what optimize would do, and do nothing.
    Preview,
    /// Bring back what an optimisation put away.
    Undo,
    /// Delete for good what an optimisation put away.
    Purge,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OptimizeMemoryStorage {
    /// Whose memories.
    #[schemars(length(min = 1, max = 256))]
    pub agent_id: String,
    /// Memories of one type that are at least this alike in meaning, from 0 to 1, and name the same numbers and denials
    /// are merged: the most important, else newest, stays.
    #[schemars(range(min = 0.5, max = 1.0), extend("default" = 0.9))]
    pub compact_threshold: Option<f64>,
    /// Memories less important than this, from 0 to 1, are put away when they are old.
    #[schemars(range(min = 0.0, max = 1.0), extend("default" = 0.2))]
    pub archive_below: Option<f64>,
    /// Days after which a memory is old.
    #[schemars(range(min = 0, max = 36500), extend("default" = 90))]
    pub archive_after_days: Option<u32>,
    /// What to do. Nothing is deleted but by purge.
    #[serde(default)]
    pub action: Optimisation,
    /// For undo and purge: the run_id of the optimisation; left out, all of them.
    #[schemars(length(min = 1, max = 256))]
    pub run_id: Option<String>,
}

/// A cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CacheKind {
    /// Answers of searches.
    Search,
    /// Memories that were read.
    Memory,
    /// Both.
    #[default]
    All,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClearCache {
    /// Which one.
    #[serde(default, alias = "cache")]
    pub cache_type: CacheKind,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SearchMemories {
    /// Whose memories to search.
    #[schemars(length(min = 1, max = 256))]
    pub agent_id: String,
    /// A question, or words to look for. Memories are found by their words, in any form, and by what they mean; what
    /// stands beside a match in the same session counts too. There are no operators.
    #[schemars(length(max = 16384))]
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
    /// Only memories stored with this session_id, and messages of that session.
    #[schemars(length(min = 1, max = 256))]
    pub session_id: Option<String>,
    /// Only memories, or only messages of conversations. Default both.
    pub kind: Option<Kind>,
    /// How much recent entries come before older ones: 0 not at all, 1 by nothing but their age and fit.
    #[schemars(range(min = 0.0, max = 1.0), extend("default" = 0.02))]
    pub recency_weight: Option<f64>,
    /// How much important entries come before others: 0 not at all, 1 as much as their fit.
    #[schemars(range(min = 0.0, max = 1.0), extend("default" = 0.05))]
    pub importance_weight: Option<f64>,
    /// Show what each score is made of.
    #[serde(default)]
    pub explain: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SearchMemoriesCached {
    /// Take an answer out of the cache when nothing was stored since it was made. Default true.
    #[serde(default = "yes")]
    #[schemars(extend("default" = true))]
    pub use_cache: bool,
    /// Whose memories to search.
    #[schemars(length(min = 1, max = 256))]
    pub agent_id: String,
    /// A question, or words to look for. Memories are found by their words, in any form, and by what they mean; what
    /// stands beside a match in the same session counts too. There are no operators.
    #[schemars(length(max = 16384))]
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
    /// Only memories stored with this session_id, and messages of that session.
    #[schemars(length(min = 1, max = 256))]
    pub session_id: Option<String>,
    /// Only memories, or only messages of conversations. Default both.
    pub kind: Option<Kind>,
    /// How much recent entries come before older ones: 0 not at all, 1 by nothing but their age and fit.
    #[schemars(range(min = 0.0, max = 1.0), extend("default" = 0.02))]
    pub recency_weight: Option<f64>,
    /// How much important entries come before others: 0 not at all, 1 as much as their fit.
    #[schemars(range(min = 0.0, max = 1.0), extend("default" = 0.05))]
    pub importance_weight: Option<f64>,
    /// Show what each score is made of.
    #[serde(default)]
    pub explain: bool,
}

impl SearchMemoriesCached {
    /// The search itself. Written out, for a flattened structure would let unknown arguments pass.
    pub(crate) fn into_search(self) -> SearchMemories {
        SearchMemories {
            agent_id: self.agent_id,
            query: self.query,
            limit: self.limit,
            memory_type: self.memory_type,
            min_importance: self.min_importance,
            since: self.since,
            until: self.until,
            session_id: self.session_id,
            kind: self.kind,
            recency_weight: self.recency_weight,
            importance_weight: self.importance_weight,
            explain: self.explain,
        }
    }
}

fn yes() -> bool {
    true
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
    /// Any text that is new for each message and the same when a call is repeated: the message is then stored once.
    #[schemars(length(min = 1, max = 256))]
    pub idempotency_key: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GetConversationHistory {
    /// The conversation to read.
    #[schemars(length(min = 1, max = 256))]
    pub session_id: String,
    /// Whose conversation. Needed only when several agents have one of this session_id.
    #[schemars(length(min = 1, max = 256))]
    pub agent_id: Option<String>,
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
    /// Whose memories to count; left out, those of all agents that you may name.
    #[schemars(length(min = 1, max = 256))]
    pub agent_id: Option<String>,
}

impl SearchMemories {
    /// What to search for.
    pub(crate) fn search(self) -> Result<(String, Search), Unusable> {
        let agent_id = name("agent_id", self.agent_id)?;
        let search = Search {
            query: query(self.query)?,
            limit: limit(self.limit)?,
            filter: Filter {
                memory_type: optional("memory_type", self.memory_type)?,
                session_id: optional("session_id", self.session_id)?,
                min_importance: self.min_importance.map(|it| fraction("min_importance", it)).transpose()?,
                since: self.since.map(|text| moment("since", &text)).transpose()?,
                until: self.until.map(|text| moment("until", &text)).transpose()?,
                kind: self.kind,
            },
            recency_weight: fraction("recency_weight", self.recency_weight.unwrap_or(RECENCY_WEIGHT))?,
            importance_weight: fraction(
                "importance_weight",
                self.importance_weight.unwrap_or(IMPORTANCE_WEIGHT),
            )?,
        };
        Ok((agent_id, search))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Before;
    use serde_json::json;

    const LIMITS: Limits = Limits { max_content_bytes: 10, session_ttl_hours: 24, batch: 100 };

    fn search(arguments: serde_json::Value) -> Result<(String, Search), String> {
        let input: SearchMemories = serde_json::from_value(arguments).map_err(|error| error.to_string())?;
        input.search().map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_left_out_or_null_gets_its_default() {
        let expected = (
            "a".to_owned(),
            Search {
                query: "q".into(),
                limit: DEFAULT_LIMIT,
                filter: Filter::default(),
                recency_weight: RECENCY_WEIGHT,
                importance_weight: IMPORTANCE_WEIGHT,
            },
        );
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
        let long = search(json!({"agent_id": "a", "query": "x".repeat(MAX_QUERY + 1)})).expect_err("long");
        assert_eq!(long, "query has 16385 bytes; the most that can be used is 16384");
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
