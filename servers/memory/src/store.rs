//! Where memories are kept: the trait that handlers use, and its one implementation for each storage.
//!
//! A store keeps and finds values. It must not know MCP, read a clock or make an id.

pub mod sqlite;

use crate::model::{
    Before, Filter, Found, History, Memory, Message, Page, Said, Search, Session, Statistics,
};
use crate::moment::Moment;
use std::sync::Arc;

/// Why a store did not do what it was asked for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The session's end was fixed and has passed; nothing was stored.
    #[error("session {id:?} ended at {at}")]
    SessionEnded { id: String, at: Moment },
    /// A history was asked for before a message that the session does not hold.
    #[error("session {session_id:?} holds no message {message_id:?}")]
    UnknownMessage { session_id: String, message_id: String },
    /// The database answered with an error; nothing was stored.
    #[error("the store failed: {0}")]
    Database(Arc<sqlx::Error>),
    /// The store is closed, or closing; nothing was stored.
    #[error("the store is closed")]
    Closed,
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::PoolClosed => Self::Closed,
            error => Self::Database(Arc::new(error)),
        }
    }
}

/// A promise of a store's answer.
pub trait Answer<T>: Future<Output = Result<T, StoreError>> + Send {}

impl<T, F: Future<Output = Result<T, StoreError>> + Send> Answer<T> for F {}

/// A place where memories, sessions and messages are kept. What a write acknowledged is never lost.
pub trait Store: Send + Sync + 'static {
    /// Keeps a memory.
    fn insert_memory(&self, memory: Memory) -> impl Answer<()>;

    /// The memories of one agent that fit best, best first.
    fn search(&self, search: &Search) -> impl Answer<Page<Found>>;

    /// The newest memories of one agent, newest first.
    fn recent(&self, agent_id: &str, filter: &Filter, limit: u32) -> impl Answer<Page<Memory>>;

    /// Keeps a session whose id is new.
    fn insert_session(&self, session: Session) -> impl Answer<()>;

    /// Keeps a message. A session that does not exist begins with it, and a session without a fixed end
    /// goes on: in both cases until `open_end`.
    fn insert_message(&self, message: Message, open_end: Moment) -> impl Answer<Said>;

    /// The newest messages of a session, before a point if one is given; `None` without such a session.
    fn history(&self, session_id: &str, before: Option<&Before>, limit: u32) -> impl Answer<Option<History>>;

    /// What the store holds at that instant, of one agent or of all.
    fn statistics(&self, agent_id: Option<&str>, now: Moment) -> impl Answer<Statistics>;

    /// Whether the store answers.
    fn check(&self) -> impl Answer<()>;

    /// Finishes the writes that were taken on, then lets go of everything.
    fn close(&self) -> impl Future<Output = ()> + Send;
}
