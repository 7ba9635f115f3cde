//! What the tools answer.

use crate::engine;
use crate::model::{self, Entry, Inserted, Kind, Page, Role, Said, Scope, Session};
use crate::moment::Moment;
use rmcp::model::JsonObject;
use schemars::JsonSchema;
use serde::Serialize;

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
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Found {
    /// The memory itself.
    #[serde(flatten)]
    memory: Memory,
    /// How well it fits the query; higher is better. Only scores of one search compare.
    score: f32,
    /// What the score is made of, when that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<Explanation>,
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
        Self { memory: Memory::of(scope, found.kept.entry.clone()), score: found.score, explanation }
    }
}

/// The result of a search that may have come out of the cache.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct CachedList {
    #[serde(flatten)]
    pub(super) list: List<Found>,
    /// Whether the answer came out of the cache.
    pub(super) cached: bool,
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
