//! What the tools answer, where it is not simply a value of the model.

use crate::model::{self, Memory, Message, Page, Said, Session};
use crate::moment::Moment;
use schemars::JsonSchema;
use serde::Serialize;

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct MemoryStored {
    /// The new memory's id.
    memory_id: String,
    agent_id: String,
    memory_type: String,
    importance: f64,
    created_at: Moment,
}

impl MemoryStored {
    pub(super) fn of(memory: &Memory) -> Self {
        Self {
            memory_id: memory.id.clone(),
            agent_id: memory.agent_id.clone(),
            memory_type: memory.memory_type.clone(),
            importance: memory.importance,
            created_at: memory.created_at,
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
    pub(super) fn of(page: Page<T>) -> Self {
        Self { count: page.items.len(), memories: page.items, truncated: page.truncated }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct MessageStored {
    /// The new message's id.
    message_id: String,
    session_id: String,
    created_at: Moment,
    /// Whether this message began the session.
    session_created: bool,
    /// When the session ends if nothing more is said.
    session_expires_at: Moment,
}

impl MessageStored {
    pub(super) fn of(message_id: String, created_at: Moment, said: Said) -> Self {
        Self {
            message_id,
            session_id: said.session.id,
            created_at,
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
    session: Session,
}

impl History {
    pub(super) fn of(history: model::History, now: Moment) -> Self {
        let model::History { session, messages } = history;
        Self {
            session_id: session.id.clone(),
            count: messages.items.len(),
            messages: messages.items,
            truncated: messages.truncated,
            expired: session.ended(now),
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
