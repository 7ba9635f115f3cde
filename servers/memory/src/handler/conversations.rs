//! The tools of conversations and their sessions.

use super::answers::{History, MessageStored, SessionCreated};
use super::{Failure, MemoryHandler, new_id, own_scopes, scope, scope_of};
use crate::arguments::{self, CreateSession, GetConversationHistory, StoreConversation};
use crate::engine;
use crate::model::{Entry, Key, MESSAGE_TYPE, Session, Speaker};
use crate::moment::Moment;
use crate::store::{Store, StoreError};
use mcp_system_kit::Caller;
use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::model::Extensions;
use rmcp::{tool, tool_router};

#[tool_router(router = conversations, vis = "pub(super)")]
impl<S: Store> MemoryHandler<S> {
    #[tool(
        title = "Store a message of a conversation",
        description = "Add one message to a conversation. A session_id that is not known yet begins a new \
                       session. Searches of the same agent_id find the message. The same words may be said again: \
                       only a call that is repeated with its idempotency_key is answered with duplicate true.",
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
        extensions: Extensions,
    ) -> Result<Json<MessageStored>, Failure> {
        let scope = scope(&extensions, arguments::name("agent_id", input.agent_id)?)?;
        let now = Moment::now();
        let entry = Entry {
            id: new_id(),
            speaker: Some(Speaker {
                role: input.role,
                user_id: arguments::optional("user_id", input.user_id)?,
            }),
            session_id: Some(arguments::name("session_id", input.session_id)?),
            memory_type: MESSAGE_TYPE.to_owned(),
            content: arguments::content("message", input.message, self.limits)?,
            context: None,
            importance: 0.5,
            created_at: now,
            updated_at: now,
            archived: None,
        };
        let key = arguments::optional("idempotency_key", input.idempotency_key)?;
        let key = key.map(|key| Key::of(key, &entry.content));
        let open_end = now.plus_hours(self.limits.session_ttl_hours);
        let said = self.store.say(&scope, engine::draft(entry, key), open_end).await?;
        if !said.inserted.duplicate {
            self.engine.wrote(&scope, said.inserted.number);
        }
        Ok(Json(MessageStored::of(said)))
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
        extensions: Extensions,
    ) -> Result<Json<History>, Failure> {
        let caller = Caller::of(&extensions);
        let session_id = arguments::name("session_id", input.session_id)?;
        let before = arguments::before(input.before)?;
        let limit = arguments::limit(input.limit)?;
        let agent_id = if let Some(agent_id) = arguments::optional("agent_id", input.agent_id)? {
            agent_id
        } else {
            let mut agents = self.agents_with_session(&caller, &session_id).await?;
            match (agents.pop(), agents.is_empty()) {
                (None, _) => return Err(Failure::UnknownSession(session_id)),
                (Some(agent_id), true) => agent_id,
                (Some(_), false) => return Err(Failure::SeveralSessions(session_id)),
            }
        };
        let scope = scope_of(&caller, agent_id)?;
        match self.store.history(&scope, &session_id, before.as_ref(), limit).await? {
            Some(history) => Ok(Json(History::of(&scope, history, Moment::now()))),
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
        extensions: Extensions,
    ) -> Result<Json<SessionCreated>, Failure> {
        let created_at = Moment::now();
        let hours = arguments::ttl_hours(input.ttl_hours, self.limits)?;
        let scope = scope(&extensions, arguments::name("agent_id", input.agent_id)?)?;
        let session = Session {
            id: new_id(),
            user_id: arguments::optional("user_id", input.user_id)?,
            metadata: arguments::object("metadata", input.metadata, self.limits)?,
            created_at,
            expires_at: created_at.plus_hours(hours),
            fixed: true,
        };
        let created = SessionCreated::of(&session);
        self.store.begin(&scope, session).await?;
        Ok(Json(created))
    }
}

impl<S: Store> MemoryHandler<S> {
    /// The agents that the caller may name and that have a session of this id: more than one are told from one, no more.
    async fn agents_with_session(
        &self,
        caller: &Caller,
        session_id: &str,
    ) -> Result<Vec<String>, StoreError> {
        let Some(scopes) = own_scopes(caller) else {
            return self.store.agents_with_session(&caller.tenant, session_id, 2).await;
        };
        let mut agents = Vec::new();
        for scope in scopes {
            if self.store.session(&scope, session_id).await?.is_some() {
                agents.push(scope.agent_id.to_string());
            }
            if agents.len() == 2 {
                break;
            }
        }
        Ok(agents)
    }
}
