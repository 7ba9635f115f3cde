//! What the tools answer.

use crate::engine;
use crate::model::{self, Entry, Inserted, Kept, Kind, Page, Role, Said, Scope, Session};
use crate::moment::Moment;
use rmcp::model::JsonObject;
use schemars::JsonSchema;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use std::sync::Arc;

/// An entry as clients see it.
#[allow(clippy::struct_field_names, reason = "the names that clients know")]
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Memory {
    /// The memory's own id; of a message, the message's.
    memory_id: String,
    /// The agent that it belongs to.
    agent_id: String,
    /// Whether it was stored as a memory or said in a conversation.
    kind: Kind,
    /// The session that it was made in, when one was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<String>,
    /// Its type; "message" for what was said in a conversation.
    memory_type: String,
    /// What is remembered, or was said.
    content: String,
    /// Who said a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<Role>,
    /// The person who took part in the conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    /// What was said about it when it was stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<JsonObject>,
    /// From 0 (trivial) to 1 (vital).
    importance: f64,
    /// When it was stored.
    created_at: Moment,
    /// When it was last changed.
    updated_at: Moment,
}

impl Memory {
    pub(super) fn of(scope: &Scope, entry: Entry) -> Self {
        Self {
            memory_id: entry.id,
            agent_id: scope.agent_id.to_string(),
            kind: if entry.speaker.is_some() { Kind::Message } else { Kind::Memory },
            session_id: entry.session_id,
            memory_type: entry.memory_type,
            content: entry.content,
            role: entry.speaker.as_ref().map(|speaker| speaker.role),
            user_id: entry.speaker.and_then(|speaker| speaker.user_id),
            context: entry.context,
            importance: entry.importance,
            created_at: entry.created_at,
            updated_at: entry.updated_at,
        }
    }
}

/// A memory that a search found.
#[derive(Debug, JsonSchema)]
pub(super) struct Found {
    #[schemars(skip)]
    agent_id: Arc<str>,
    /// The memory itself.
    #[schemars(flatten, with = "Memory")]
    kept: Arc<Kept>,
    /// How well it fits the query; higher is better. Only scores of one search compare.
    score: f32,
    /// What the score is made of, when that was asked for.
    #[schemars(skip_serializing_if = "Option::is_none")]
    explanation: Option<Explanation>,
}

impl Serialize for Found {
    /// Writes all that [`Memory`] says, and what follows it. Searches are most of what is asked: a derived `flatten` would
    /// take a copy of the entry, and have the map grow step by step, for it does not tell how many fields there are.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entry = &self.kept.entry;
        let speaker = entry.speaker.as_ref();
        // Room for all that there may be.
        let mut map = serializer.serialize_map(Some(14))?;
        map.serialize_entry("memory_id", &entry.id)?;
        map.serialize_entry("agent_id", &*self.agent_id)?;
        map.serialize_entry("kind", &entry.kind())?;
        write_some(&mut map, "session_id", entry.session_id.as_ref())?;
        map.serialize_entry("memory_type", &entry.memory_type)?;
        map.serialize_entry("content", &entry.content)?;
        write_some(&mut map, "role", speaker.map(|speaker| &speaker.role))?;
        write_some(&mut map, "user_id", speaker.and_then(|speaker| speaker.user_id.as_ref()))?;
        write_some(&mut map, "context", entry.context.as_ref())?;
        map.serialize_entry("importance", &entry.importance)?;
        map.serialize_entry("created_at", &entry.created_at)?;
        map.serialize_entry("updated_at", &entry.updated_at)?;
        map.serialize_entry("score", &self.score)?;
        write_some(&mut map, "explanation", self.explanation.as_ref())?;
        map.end()
    }
}

fn write_some<M: SerializeMap>(
    map: &mut M,
    name: &str,
    value: Option<&impl Serialize>,
) -> Result<(), M::Error> {
    value.map_or(Ok(()), |value| map.serialize_entry(name, value))
}

/// The parts of a score: they add up to it, once multiplied by `weight` and before any second look.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Explanation {
    /// The words that query and memory share.
    lexical: f32,
    /// How alike the two are as a whole.
    vector: f32,
    /// How well each word of the query is met by some word of the memory.
    soft: f32,
    /// How alike the two are to the neural model, when there is one.
    dense: f32,
    /// What stands beside it in the same session adds.
    neighbours: f32,
    /// What recency and importance make of it.
    weight: f32,
    /// How well it answers the query to the model of the second look, from 0 to 1, where it got one.
    #[serde(skip_serializing_if = "Option::is_none")]
    judgement: Option<f32>,
}

impl Found {
    pub(super) fn of(scope: &Scope, found: &engine::Found, explain: bool) -> Self {
        let parts = found.parts;
        let explanation = explain.then_some(Explanation {
            lexical: parts.lexical,
            vector: parts.vector,
            soft: parts.soft,
            dense: parts.dense,
            neighbours: parts.neighbours,
            weight: parts.weight,
            judgement: found.judgement,
        });
        Self { agent_id: scope.agent_id.clone(), kept: found.kept.clone(), score: found.score, explanation }
    }
}

/// The result of a search that may have come out of the cache.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct CachedList {
    memories: Vec<Found>,
    /// How many there are here.
    count: usize,
    /// Whether there would be more, had they not grown too large for one answer.
    truncated: bool,
    /// Whether the answer came out of the cache.
    cached: bool,
}

impl CachedList {
    pub(super) fn of(list: List<Found>, cached: bool) -> Self {
        let List { memories, count, truncated } = list;
        Self { memories, count, truncated, cached }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct BatchStored {
    /// One for each memory of the call, in order.
    pub(super) memories: Vec<MemoryStored>,
    /// How many are new.
    pub(super) stored: usize,
    /// How many were there before.
    pub(super) duplicates: usize,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Deleted {
    pub(super) memory_id: String,
    /// Whether it was there.
    pub(super) deleted: bool,
}

/// What an optimisation did, or would do.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Optimisation {
    /// What to name to undo or to purge it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) run_id: Option<String>,
    /// In words.
    pub(super) summary: String,
    /// Memories that were looked at.
    pub(super) examined: u64,
    /// How many were, or would be, merged into another.
    pub(super) merged: u64,
    /// How many were, or would be, put away for their age and small importance.
    pub(super) aged_out: u64,
    /// How many were brought back.
    pub(super) restored: u64,
    /// How many were deleted for good.
    pub(super) purged: u64,
    /// The first hundred that were merged.
    pub(super) merges: Vec<Merge>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Merge {
    pub(super) memory_id: String,
    pub(super) merged_into: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Cleared {
    /// Answers of searches that were forgotten.
    pub(super) search: u64,
    /// Memories that were forgotten; the store still has them.
    pub(super) memory: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct HealthOfCache {
    entries: u64,
    hits: u64,
    misses: u64,
}

impl From<crate::cache::Served> for HealthOfCache {
    fn from(served: crate::cache::Served) -> Self {
        Self { entries: served.entries, hits: served.hits, misses: served.misses }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct HealthReport {
    /// "healthy", or "degraded" when the store does not answer.
    pub(super) status: &'static str,
    pub(super) version: &'static str,
    /// Why it is degraded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) store_error: Option<String>,
    /// Agents whose index is in memory. Told, as all that follows is, to those who may touch every tenant and every agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) indexes: Option<u64>,
    /// Bytes of these indexes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) index_bytes: Option<u64>,
    /// How the cache of searches has served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) search_cache: Option<HealthOfCache>,
    /// How the cache of memories has served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) memory_cache: Option<HealthOfCache>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct MemoryStored {
    /// The memory's id: a new one, or that of the memory that was there.
    memory_id: String,
    agent_id: String,
    /// Its type and its importance: where it was there, they are as they were.
    memory_type: String,
    importance: f64,
    created_at: Moment,
    /// Whether the same content, or the same idempotency_key, was stored before: nothing was stored now.
    pub(super) duplicate: bool,
}

impl MemoryStored {
    pub(super) fn of(scope: &Scope, inserted: Inserted) -> Self {
        Self {
            memory_id: inserted.id,
            agent_id: scope.agent_id.to_string(),
            memory_type: inserted.memory_type,
            importance: inserted.importance,
            created_at: inserted.created_at,
            duplicate: inserted.duplicate,
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct List<T> {
    memories: Vec<T>,
    /// How many there are here.
    count: usize,
    /// Whether there would be more, had they not grown too large for one answer.
    truncated: bool,
}

impl<T> List<T> {
    pub(super) fn of<U>(page: Page<U>, shown: impl FnMut(U) -> T) -> Self {
        let memories: Vec<T> = page.items.into_iter().map(shown).collect();
        Self { count: memories.len(), memories, truncated: page.truncated }
    }

    pub(super) fn of_slice<U>(items: &[U], truncated: bool, shown: impl FnMut(&U) -> T) -> Self {
        let memories: Vec<T> = items.iter().map(shown).collect();
        Self { count: memories.len(), memories, truncated }
    }
}

/// One message of a conversation.
#[allow(clippy::struct_field_names, reason = "the names that clients know")]
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Message {
    /// The message's own id.
    message_id: String,
    /// The session that it belongs to.
    session_id: String,
    /// The agent that stored it.
    agent_id: String,
    /// The person who took part, when one was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    /// Who spoke.
    role: Role,
    /// What was said.
    message: String,
    /// When it was stored.
    created_at: Moment,
}

impl Message {
    fn of(scope: &Scope, session_id: &str, entry: Entry) -> Option<Self> {
        let speaker = entry.speaker?;
        Some(Self {
            message_id: entry.id,
            session_id: session_id.to_owned(),
            agent_id: scope.agent_id.to_string(),
            user_id: speaker.user_id,
            role: speaker.role,
            message: entry.content,
            created_at: entry.created_at,
        })
    }
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct MessageStored {
    /// The message's id: a new one, or that of the message that was there.
    message_id: String,
    session_id: String,
    /// When the message was stored.
    created_at: Moment,
    /// Whether this message was stored with the same idempotency_key before: nothing was stored now. Without a key each
    /// call stores a message, for people do say the same again.
    duplicate: bool,
    /// Whether this message began the session.
    session_created: bool,
    /// When the session ends if nothing more is said.
    session_expires_at: Moment,
}

impl MessageStored {
    pub(super) fn of(said: Said) -> Self {
        Self {
            message_id: said.inserted.id,
            session_id: said.session.id,
            created_at: said.inserted.created_at,
            duplicate: said.inserted.duplicate,
            session_created: said.begun,
            session_expires_at: said.session.expires_at,
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct History {
    session_id: String,
    /// Oldest first.
    messages: Vec<Message>,
    /// How many there are here.
    count: usize,
    /// Whether older ones were left out because they would be too large for one answer.
    truncated: bool,
    /// Whether the session has ended.
    expired: bool,
    /// The agent whose conversation it is.
    agent_id: String,
    session: Session,
}

impl History {
    pub(super) fn of(scope: &Scope, history: model::History, now: Moment) -> Self {
        let model::History { session, messages } = history;
        let entries = messages.items.into_iter();
        let shown: Vec<Message> =
            entries.filter_map(|entry| Message::of(scope, &session.id, entry)).collect();
        Self {
            session_id: session.id.clone(),
            count: shown.len(),
            messages: shown,
            truncated: messages.truncated,
            expired: session.ended(now),
            agent_id: scope.agent_id.to_string(),
            session,
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct SessionCreated {
    /// What to name in store_conversation and get_conversation_history.
    session_id: String,
    created_at: Moment,
    expires_at: Moment,
}

impl SessionCreated {
    pub(super) fn of(session: &Session) -> Self {
        Self {
            session_id: session.id.clone(),
            created_at: session.created_at,
            expires_at: session.expires_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Speaker;
    use mcp_system_retrieval::Parts;
    use rmcp::handler::server::tool::schema_for_output;
    use rmcp::model::object;
    use serde_json::json;

    /// With all that may be left out, or without all of it.
    fn found(full: bool) -> Found {
        let entry = Entry {
            id: "m".to_owned(),
            speaker: full.then(|| Speaker { role: Role::User, user_id: Some("u".to_owned()) }),
            session_id: full.then(|| "s".to_owned()),
            memory_type: "general".to_owned(),
            content: "Ada prefers tea".to_owned(),
            context: full.then(|| object(json!({"k": 1}))),
            importance: 0.5,
            created_at: Moment(0),
            updated_at: Moment(1_000_000),
            archived: None,
        };
        let found = engine::Found {
            kept: Arc::new(Kept { number: 1, version: 2, entry }),
            score: 0.75,
            parts: Parts { lexical: 0.5, weight: 1.0, ..Parts::default() },
            judgement: full.then_some(0.25),
        };
        Found::of(&Scope::new("t", "a"), &found, full)
    }

    fn keys(value: &impl Serialize) -> Vec<String> {
        let value = serde_json::to_value(value).expect("JSON");
        value.as_object().expect("an object").keys().cloned().collect()
    }

    #[test]
    fn what_was_found_is_written_in_order_without_what_is_not_there() {
        let written = |full| serde_json::to_value(found(full)).expect("JSON").to_string();
        let bare = json!({
            "memory_id": "m",
            "agent_id": "a",
            "kind": "memory",
            "memory_type": "general",
            "content": "Ada prefers tea",
            "importance": 0.5,
            "created_at": "1970-01-01T00:00:00.000000Z",
            "updated_at": "1970-01-01T00:00:01.000000Z",
            "score": 0.75
        });
        assert_eq!(written(false), bare.to_string());
        let full = json!({
            "memory_id": "m",
            "agent_id": "a",
            "kind": "message",
            "session_id": "s",
            "memory_type": "general",
            "content": "Ada prefers tea",
            "role": "user",
            "user_id": "u",
            "context": {"k": 1},
            "importance": 0.5,
            "created_at": "1970-01-01T00:00:00.000000Z",
            "updated_at": "1970-01-01T00:00:01.000000Z",
            "score": 0.75,
            "explanation": {
                "lexical": 0.5,
                "vector": 0.0,
                "soft": 0.0,
                "dense": 0.0,
                "neighbours": 0.0,
                "weight": 1.0,
                "judgement": 0.25
            }
        });
        assert_eq!(written(true), full.to_string());
    }

    #[test]
    fn schemas_name_just_what_is_written() {
        let schema = schema_for_output::<Found>();
        assert_eq!(keys(&schema["properties"]), keys(&found(true)));
        assert_eq!(schema["required"], json!(keys(&found(false))));

        let list = List { memories: vec![found(false)], count: 1, truncated: false };
        let list = CachedList::of(list, true);
        let schema = schema_for_output::<CachedList>();
        assert_eq!(keys(&schema["properties"]), ["memories", "count", "truncated", "cached"]);
        assert_eq!(schema["required"], json!(keys(&list)));
    }
}
