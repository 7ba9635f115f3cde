//! What the server remembers: plain values, as the store keeps them and as clients see them.
//!
//! Nothing here reads a clock, a file or the network.

use crate::moment::Moment;
use rmcp::model::JsonObject;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One thing that an agent wants to remember.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Memory {
    /// The memory's own id.
    #[serde(rename = "memory_id")]
    pub id: String,
    /// The agent that it belongs to.
    pub agent_id: String,
    /// The session that it was made in, when one was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Its kind.
    pub memory_type: String,
    /// What is remembered.
    pub content: String,
    /// What was said about it when it was stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<JsonObject>,
    /// From 0 (trivial) to 1 (vital).
    pub importance: f64,
    /// When it was stored.
    pub created_at: Moment,
}

impl Memory {
    /// Roughly the bytes that it takes in an answer.
    pub fn weight(&self) -> usize {
        self.content.len() + self.context.as_ref().map_or(0, object_weight) + 256
    }
}

/// Roughly the bytes of an object: exact sizes matter to nobody, and its text may be long to make.
fn object_weight(object: &JsonObject) -> usize {
    serde_json::to_string(object).map_or(0, |text| text.len())
}

/// A memory that a search found.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Found {
    /// The memory itself.
    #[serde(flatten)]
    pub memory: Memory,
    /// How well it fits the query; higher is better. Only scores of one search compare.
    pub score: f64,
}

/// What to search for, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    /// Whose memories; those of others are never looked at.
    pub agent_id: String,
    /// Any text; its words count, a memory that holds any of them is found.
    pub query: String,
    /// The most memories to return.
    pub limit: u32,
    /// Which of the agent's memories are looked at.
    pub filter: Filter,
}

/// Which of an agent's memories are looked at; what is `None` excludes nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// Only this kind.
    pub memory_type: Option<String>,
    /// Only memories of this session.
    pub session_id: Option<String>,
    /// Only memories at least this important.
    pub min_importance: Option<f64>,
    /// Only memories stored then or later.
    pub since: Option<Moment>,
    /// Only memories stored before then.
    pub until: Option<Moment>,
}

/// A part of a longer list, cut where its bytes or its number reach a bound.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// The entries, in order.
    pub items: Vec<T>,
    /// Whether bytes, not the limit that was asked for, ended the page.
    pub truncated: bool,
}

/// Who spoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    User,
    Assistant,
    System,
    Tool,
}

impl Role {
    /// The name that the store and clients use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::System => "system",
            Self::Tool => "tool",
        }
    }

    /// The role with this name.
    pub fn of_name(name: &str) -> Option<Self> {
        [Self::User, Self::Assistant, Self::System, Self::Tool].into_iter().find(|role| role.name() == name)
    }
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Message {
    /// The message's own id.
    #[serde(rename = "message_id")]
    pub id: String,
    /// The session that it belongs to.
    pub session_id: String,
    /// The agent that stored it.
    pub agent_id: String,
    /// The person who took part, when one was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// Who spoke.
    pub role: Role,
    /// What was said.
    pub message: String,
    /// When it was stored.
    pub created_at: Moment,
}

/// A conversation's frame.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Session {
    /// The session's id: made by `create_session`, or chosen by the agent.
    #[serde(rename = "session_id")]
    pub id: String,
    /// The agent that began it.
    pub agent_id: String,
    /// The person it was begun for, when one was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// What its creator said about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<JsonObject>,
    /// When it began.
    pub created_at: Moment,
    /// When it ends, or ended.
    pub expires_at: Moment,
    /// Whether its end is fixed; otherwise each message moves it on.
    #[serde(rename = "fixed_end")]
    pub fixed: bool,
}

impl Session {
    /// Whether the session is over at that instant.
    pub fn ended(&self, now: Moment) -> bool {
        self.expires_at <= now
    }
}

/// A message was stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// The session as it is now.
    pub session: Session,
    /// Whether the message brought the session into being.
    pub begun: bool,
}

/// The point before which a history is read.
#[derive(Clone, Debug, PartialEq)]
pub enum Before {
    /// A message, by its id.
    Message(String),
    /// An instant.
    Moment(Moment),
}

/// A session and a part of what was said in it, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// The session.
    pub session: Session,
    /// The newest messages before the point that was asked for, oldest first.
    pub messages: Page<Message>,
}

/// What a store holds, of one agent or of all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Statistics {
    /// Memories in all.
    pub memories: u64,
    /// Memories of each kind.
    pub memories_by_type: BTreeMap<String, u64>,
    /// Sessions in which something was said.
    pub conversations: u64,
    /// Messages in all.
    pub messages: u64,
    /// Sessions, those that ended among them.
    pub sessions: u64,
    /// Sessions that have not ended.
    pub active_sessions: u64,
    /// When the oldest memory was stored.
    pub oldest_memory: Option<Moment>,
    /// When the newest memory was stored.
    pub newest_memory: Option<Moment>,
    /// Bytes that the whole store takes on disk, the memories of all agents together.
    pub store_bytes: u64,
}
