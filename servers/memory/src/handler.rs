//! The MCP side: which tools and resources there are, and what each makes of a call.
//!
//! Ids and the time are made here, so that the store writes just what it is given. The tenant, and the agents that may be
//! named, come from who calls, never from what a call says.

mod answers;
mod conversations;
mod memories;
mod resources;
#[cfg(test)]
mod tests;
mod upkeep;

use crate::arguments::{Limits, Unusable};
use crate::engine::{BrokenOff, Engine};
use crate::model::Scope;
use crate::store::{Store, StoreError};
use mcp_system_kit::Caller;
use mcp_system_kit::schema::plain_router;
use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::model::{
    ContentBlock, ErrorData, Extensions, Implementation, IntoContents, ListResourceTemplatesResult,
    ListResourcesResult, PaginatedRequestParams, ReadResourceRequestParams, ReadResourceResponse,
    ServerCapabilities, ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler, tool_handler};
use std::sync::Arc;
use uuid::Uuid;

const INSTRUCTIONS: &str = "\
Long-term memory for agents. Before you answer, search_memories for what you may already know; when you \
learn something worth keeping, store_memory. Use the same agent_id each time: memories are found by their \
own agent only. store_conversation and get_conversation_history keep what was said, message by message.";

/// Answers MCP requests from a store. Clones share it.
pub struct MemoryHandler<S> {
    store: Arc<S>,
    engine: Arc<Engine<S>>,
    limits: Limits,
    // A router is built from a dozen schemas: once, not once a request.
    router: Arc<ToolRouter<Self>>,
}

impl<S> Clone for MemoryHandler<S> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            engine: self.engine.clone(),
            limits: self.limits,
            router: self.router.clone(),
        }
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
    #[error(
        "the agent {agent_id:?} may not be named here, and nothing was done: the key of {principal} is used for these \
         agents alone: {agents}"
    )]
    OtherAgent { agent_id: String, principal: Arc<str>, agents: String },
    #[error("there is no session {0:?}: store_conversation with this session_id begins it")]
    UnknownSession(String),
    #[error("several agents have a session {0:?}: name the agent_id")]
    SeveralSessions(String),
    #[error("this agent has no memory {0:?}: search_memories and get_recent_memories tell which it has")]
    UnknownMemory(String),
    #[error("memory {0:?} is being changed by others all the time; nothing was changed, call again")]
    Contended(String),
    #[error("{0}; nothing was stored: begin another with create_session, or use another session_id")]
    SessionEnded(StoreError),
    #[error("{0}; before must be a message_id of this session or a time such as 2026-11-23T09:00:00Z")]
    UnknownMessage(StoreError),
    #[error("{0}; nothing was stored: use a new key for a new content")]
    KeyReused(StoreError),
    #[error(
        "memories[{index}]: {error}; the first {stored} of this call are stored, the others are not: use a new key for \
         a new content, then repeat the call"
    )]
    KeyReusedAt { index: usize, stored: usize, error: StoreError },
    #[error("memories[{index}]: {failure}; nothing of this call was stored")]
    Entry { index: usize, failure: Box<Failure> },
    #[error("{0}; nothing was stored: make room on the server's disk, then call again")]
    Full(StoreError),
    #[error("{0}; look whether it is there before you store it again")]
    Uncertain(StoreError),
    #[error("{0}; a part of it may be done, the same call does the rest")]
    Partly(StoreError),
    #[error(
        "{error}; {away} were put away before: action undo with run_id {run_id:?} brings them back, the same call again \
         does the rest"
    )]
    BrokenOff { error: StoreError, away: String, run_id: String },
    #[error("{0}; the call had no effect and can be made again")]
    Store(StoreError),
}

impl Failure {
    /// The store failed at what is done portion by portion.
    fn partly(error: StoreError) -> Self {
        match Self::from(error) {
            Self::Store(error) => Self::Partly(error),
            failure => failure,
        }
    }

    /// The store failed at the optimisation `run_id`, or at looking what one would do.
    fn broken_off(BrokenOff { done, error }: BrokenOff, run_id: Option<String>) -> Self {
        let least = if matches!(error, StoreError::Uncertain(_)) { "at least " } else { "" };
        match run_id {
            Some(run_id) if done.archived > 0 || !least.is_empty() => {
                tracing::error!(%error, run_id, archived = done.archived, "an optimisation broke off");
                let away = format!("{least}{} of {} memories", done.archived, done.examined);
                Self::BrokenOff { error, away, run_id }
            }
            _ => Self::from(error),
        }
    }

    /// The store answered a write with nothing.
    fn nothing() -> Self {
        Self::Store(StoreError::Closed)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::SessionEnded { .. } => Self::SessionEnded(error),
            StoreError::UnknownMessage { .. } => Self::UnknownMessage(error),
            StoreError::KeyReused { .. } => Self::KeyReused(error),
            StoreError::Full(_) => {
                tracing::error!(%error, "the store is full");
                Self::Full(error)
            }
            StoreError::Uncertain(_) => {
                tracing::error!(%error, "the outcome of a write is not known");
                Self::Uncertain(error)
            }
            // No call restores a backup.
            StoreError::NotEmpty
            | StoreError::Database(_)
            | StoreError::Unreachable(_)
            | StoreError::LeftAlone { .. }
            | StoreError::Busy { .. }
            | StoreError::Closed => {
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

impl<S: Store> MemoryHandler<S> {
    /// Answers by this engine, within these limits.
    pub fn new(engine: Arc<Engine<S>>, limits: Limits) -> Self {
        let router = Self::memories() + Self::conversations() + Self::upkeep();
        Self { store: engine.store().clone(), engine, limits, router: Arc::new(plain_router(router)) }
    }
}

#[tool_handler(router = self.router)]
impl<S: Store> ServerHandler for MemoryHandler<S> {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().enable_resources().build())
            .with_server_info(Implementation::new("mcp-system-memory", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        self.list(&context.extensions).await
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(resources::templates())
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        self.resource(&request.uri, &context.extensions).await
    }
}

/// Agents that an error names; very many would fill a model's context.
const TOLD_AGENTS: usize = 20;

/// The scope of an agent of the caller's tenant, where the caller may name it.
fn scope(extensions: &Extensions, agent_id: String) -> Result<Scope, Failure> {
    scope_of(&Caller::of(extensions), agent_id)
}

fn scope_of(caller: &Caller, agent_id: String) -> Result<Scope, Failure> {
    if caller.may_name(&agent_id) {
        return Ok(Scope::new(caller.tenant.clone(), agent_id));
    }
    let own = caller.agents.as_deref().unwrap_or_default();
    let agents = match own {
        [] => "none".to_owned(),
        few if few.len() <= TOLD_AGENTS => few.join(", "),
        many => format!("{} and {} more", many[..TOLD_AGENTS].join(", "), many.len() - TOLD_AGENTS),
    };
    Err(Failure::OtherAgent { agent_id, principal: caller.principal.clone(), agents })
}

/// The scopes of a caller that may name some agents only; `None` for one that may name all of its tenant.
fn own_scopes(caller: &Caller) -> Option<Vec<Scope>> {
    let agents = caller.agents.as_ref()?;
    Some(agents.iter().map(|agent| Scope::new(caller.tenant.clone(), agent.clone())).collect())
}

/// Ids sort by the time at which they were made.
fn new_id() -> String {
    Uuid::now_v7().to_string()
}
