//! The MCP side: which tools there are, and what each makes of a call.
//!
//! Ids and the time are made here, so that the store writes just what it is given.

mod answers;
#[cfg(test)]
mod tests;

use crate::arguments::{
    self, CreateSession, GetConversationHistory, GetMemoryStatistics, GetRecentMemories, Limits,
    SearchMemories, StoreConversation, StoreMemory, Unusable,
};
use crate::model::{Filter, Found, Memory, Message, Session, Statistics};
use crate::moment::Moment;
use crate::store::{Store, StoreError};
use answers::{History, List, MemoryStored, MessageStored, SessionCreated};
use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::model::{ContentBlock, Implementation, IntoContents, ServerCapabilities, ServerConfig};
use rmcp::{ServerHandler, tool, tool_handler, tool_router};
use std::sync::Arc;
use uuid::Uuid;

const INSTRUCTIONS: &str = "\
Long-term memory for agents. Before you answer, search_memories for what you may already know; when you \
learn something worth keeping, store_memory. Use the same agent_id each time: memories are found by their \
own agent only. store_conversation and get_conversation_history keep what was said, message by message.";

/// Answers MCP requests from a store. Clones share it.
pub struct MemoryHandler<S> {
    store: Arc<S>,
    limits: Limits,
    // A router is built from a dozen schemas: once, not once a request.
    router: Arc<ToolRouter<Self>>,
}

impl<S> Clone for MemoryHandler<S> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), limits: self.limits, router: self.router.clone() }
    }
}

impl<S> std::fmt::Debug for MemoryHandler<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryHandler").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Why a call did nothing; the model that called reads it.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Unusable(#[from] Unusable),
    #[error("there is no session {0:?}: store_conversation with this session_id begins it")]
    UnknownSession(String),
    #[error("{0}; nothing was stored: begin another with create_session, or use another session_id")]
    SessionEnded(StoreError),
    #[error("{0}; before must be a message_id of this session or a time such as 2026-11-23T09:00:00Z")]
    UnknownMessage(StoreError),
    #[error("{0}; the call had no effect and can be made again")]
    Store(StoreError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::SessionEnded { .. } => Self::SessionEnded(error),
            StoreError::UnknownMessage { .. } => Self::UnknownMessage(error),
            StoreError::Database(_) | StoreError::Closed => {
                tracing::error!(%error, "a call failed in the store");
                Self::Store(error)
            }
        }
    }
}

impl IntoContents for Failure {
    fn into_contents(self) -> Vec<ContentBlock> {
        vec![ContentBlock::text(self.to_string())]
    }
}

#[tool_router]
impl<S: Store> MemoryHandler<S> {
    /// Answers from this store, within these limits.
    pub fn new(store: Arc<S>, limits: Limits) -> Self {
        Self { store, limits, router: Arc::new(Self::tool_router()) }
    }

    #[tool(
        title = "Store a memory",
        description = "Remember something for later: a fact, a preference, a decision, a result. It is kept \
                       until it is removed, and only searches with the same agent_id find it.",
        annotations(
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = false,
            open_world_hint = false
        )
    )]
    async fn store_memory(
        &self,
        Parameters(input): Parameters<StoreMemory>,
    ) -> Result<Json<MemoryStored>, Failure> {
        let memory = Memory {
            id: new_id(),
            agent_id: arguments::name("agent_id", input.agent_id)?,
            session_id: arguments::optional("session_id", input.session_id)?,
            memory_type: arguments::optional("memory_type", input.memory_type)?
                .unwrap_or_else(|| "general".to_owned()),
            content: arguments::content("content", input.content, self.limits)?,
            context: arguments::object("context", input.context, self.limits)?,
            importance: arguments::fraction("importance", input.importance.unwrap_or(0.5))?,
            created_at: Moment::now(),
        };
        let stored = MemoryStored::of(&memory);
        self.store.insert_memory(memory).await?;
        Ok(Json(stored))
    }

    #[tool(
        title = "Search memories",
        description = "Find what this agent remembers about something, best first, by full-text search. Ask \
                       with the words that the memory would use; filters narrow it down.",
        annotations(read_only_hint = true, open_world_hint = false)
    )]
    async fn search_memories(
        &self,
        Parameters(input): Parameters<SearchMemories>,
    ) -> Result<Json<List<Found>>, Failure> {
        let found = self.store.search(&input.search()?).await?;
        Ok(Json(List::of(found)))
    }

    #[tool(
        title = "Get recent memories",
        description = "List the newest memories of an agent, newest first.",
        annotations(read_only_hint = true, open_world_hint = false)
    )]
    async fn get_recent_memories(
        &self,
        Parameters(input): Parameters<GetRecentMemories>,
    ) -> Result<Json<List<Memory>>, Failure> {
        let agent_id = arguments::name("agent_id", input.agent_id)?;
        let limit = arguments::limit(input.limit)?;
        let memory_type = arguments::optional("memory_type", input.memory_type)?;
        let filter = Filter { memory_type, ..Filter::default() };
        let memories = self.store.recent(&agent_id, &filter, limit).await?;
        Ok(Json(List::of(memories)))
    }

    #[tool(
        title = "Store a message of a conversation",
        description = "Add one message to a conversation. A session_id that is not known yet begins a new \
                       session.",
        annotations(
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = false,
            open_world_hint = false
        )
    )]
    async fn store_conversation(
        &self,
        Parameters(input): Parameters<StoreConversation>,
    ) -> Result<Json<MessageStored>, Failure> {
        let message = Message {
            id: new_id(),
            session_id: arguments::name("session_id", input.session_id)?,
            agent_id: arguments::name("agent_id", input.agent_id)?,
            user_id: arguments::optional("user_id", input.user_id)?,
            role: input.role,
            message: arguments::content("message", input.message, self.limits)?,
            created_at: Moment::now(),
        };
        let (id, created_at) = (message.id.clone(), message.created_at);
        let open_end = created_at.plus_hours(self.limits.session_ttl_hours);
        let said = self.store.insert_message(message, open_end).await?;
        Ok(Json(MessageStored::of(id, created_at, said)))
    }

    #[tool(
        title = "Get the history of a conversation",
        description = "Read a conversation: its newest messages, oldest first. Read further back with \
                       before. A session that has ended is still read; expired says so.",
        annotations(read_only_hint = true, open_world_hint = false)
    )]
    async fn get_conversation_history(
        &self,
        Parameters(input): Parameters<GetConversationHistory>,
    ) -> Result<Json<History>, Failure> {
        let session_id = arguments::name("session_id", input.session_id)?;
        let before = arguments::before(input.before)?;
        let limit = arguments::limit(input.limit)?;
        match self.store.history(&session_id, before.as_ref(), limit).await? {
            Some(history) => Ok(Json(History::of(history, Moment::now()))),
            None => Err(Failure::UnknownSession(session_id)),
        }
    }

    #[tool(
        title = "Create a session",
        description = "Begin a conversation that ends after a number of hours, and get a new session_id for \
                       it. Not needed when you choose a session_id of your own.",
        annotations(
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = false,
            open_world_hint = false
        )
    )]
    async fn create_session(
        &self,
        Parameters(input): Parameters<CreateSession>,
    ) -> Result<Json<SessionCreated>, Failure> {
        let created_at = Moment::now();
        let hours = arguments::ttl_hours(input.ttl_hours, self.limits)?;
        let session = Session {
            id: new_id(),
            agent_id: arguments::name("agent_id", input.agent_id)?,
            user_id: arguments::optional("user_id", input.user_id)?,
            metadata: arguments::object("metadata", input.metadata, self.limits)?,
            created_at,
            expires_at: created_at.plus_hours(hours),
            fixed: true,
        };
        let created = SessionCreated::of(&session);
        self.store.insert_session(session).await?;
        Ok(Json(created))
    }

    #[tool(
        title = "Get statistics of the memory",
        description = "Count what is stored, of one agent or of all: memories by type, conversations, \
                       messages, sessions, the oldest and the newest memory, and the bytes on disk.",
        annotations(read_only_hint = true, open_world_hint = false)
    )]
    async fn get_memory_statistics(
        &self,
        Parameters(input): Parameters<GetMemoryStatistics>,
    ) -> Result<Json<Statistics>, Failure> {
        let agent_id = arguments::optional("agent_id", input.agent_id)?;
        Ok(Json(self.store.statistics(agent_id.as_deref(), Moment::now()).await?))
    }
}

#[tool_handler(router = self.router)]
impl<S: Store> ServerHandler for MemoryHandler<S> {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("mcp-system-memory", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }
}

/// Ids sort by the time at which they were made.
fn new_id() -> String {
    Uuid::now_v7().to_string()
}
