//! Where entries are kept: the trait that the engine and the tools use, and its implementation for each storage.
//!
//! A store keeps values and tells what changed. It must not know MCP, read a clock, make an id, or know what
//! an analysis or a vector means. Every call names a [`Scope`], and an implementation must put it into
//! every statement.
//!
//! # Versions
//! Each scope counts its changes. A change of an entry (stored, replaced, deleted, put away, brought back, given a
//! vector) takes the next version, in the transaction that makes it, without gaps; a reader that sees a version
//! sees all changes up to it, within a [life](Store::lives). One writer, or a lock on the scope's row (`UPDATE scopes SET version =
//! version + n ... RETURNING version` as a transaction's first statement), gives just this order. So whoever holds
//! an index of a scope compares one number before it answers, and pulls the changes it misses.

#[doc(hidden)]
pub mod conformance;
mod page;
pub mod postgres;
pub mod sqlite;

use crate::model::{
    Archival, Before, Changes, Draft, Entry, Filter, History, Indexed, Inserted, Kept, Key, Page, Said,
    Scope, Session, Statistics,
};
use crate::moment::Moment;
use mcp_system_config::Resilience;
use mcp_system_kit::breaker::State;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// How far a follower may be behind to be told single changes. Deletions are remembered for just as long.
pub const REMEMBERED_CHANGES: u64 = 10_000;

/// Entries that are brought back, or deleted for good, in one transaction: other writes wait for no more of them.
const PORTION: u32 = 1000;

/// Repeats a step that takes up to [`PORTION`] entries until none are left; answers how many there were.
async fn in_portions<F>(step: impl Fn() -> F) -> Result<u64, StoreError>
where
    F: Future<Output = Result<u64, StoreError>>,
{
    let mut count = 0;
    loop {
        let taken = step().await?;
        count += taken;
        if taken < u64::from(PORTION) {
            return Ok(count);
        }
    }
}

/// Why a store did not do what it was asked for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The session's end was fixed and has passed; nothing was stored.
    #[error("session {id:?} ended at {at}")]
    SessionEnded { id: String, at: Moment },
    /// A history was asked for before a message that the session does not hold.
    #[error("session {session_id:?} holds no message {message_id:?}")]
    UnknownMessage { session_id: String, message_id: String },
    /// The idempotency key was used for another content, or for the same words elsewhere: in another session, or as a memory
    /// where this is a message. Nothing was stored.
    #[error("the idempotency key {key:?} was used before, for something else")]
    KeyReused { key: String },
    /// A backup was to be restored into a store that holds something; nothing was stored.
    #[error(
        "the store is not empty: restore wants a new one, import adds to what is there (and goes on with a restore that broke off)"
    )]
    NotEmpty,
    /// The disk, or the room that the store was given, is used up; nothing was stored.
    #[error("the store has no room left: {0}")]
    Full(Arc<sqlx::Error>),
    /// The database answered with an error; nothing was stored.
    #[error("the store failed: {0}")]
    Database(Arc<sqlx::Error>),
    /// The database cannot be reached; nothing was stored.
    #[error("the database cannot be reached: {0}")]
    Unreachable(Arc<sqlx::Error>),
    /// The connection was lost while the write was being committed, and the database cannot be asked about it.
    #[error(
        "the connection to the database was lost during the write, which may or may not have been stored: {0}"
    )]
    Uncertain(Arc<sqlx::Error>),
    /// The database failed so often that it is left alone for a while; nothing was stored.
    #[error("the database failed several times in a row and is left alone for {} s", wait.as_secs().max(1))]
    LeftAlone { wait: Duration },
    /// All connections are in use, and none became free in time; nothing was stored.
    #[error(
        "all {connections} connections to the database are in use; make fewer calls at once, or raise pool.maxSize"
    )]
    Busy { connections: u32 },
    /// The store is closed, or closing; nothing was stored.
    #[error("the store is closed")]
    Closed,
}

/// A promise of a store's answer.
pub trait Answer<T>: Future<Output = Result<T, StoreError>> + Send {}

impl<T, F: Future<Output = Result<T, StoreError>> + Send> Answer<T> for F {}

/// A vector for an entry, made from the content that it had at `version`.
#[derive(Clone, Debug, PartialEq)]
pub struct Vector {
    /// The entry.
    pub number: u64,
    /// The version at which its text was read; a later change of the text makes the vector void.
    pub version: u64,
    /// Of unit length.
    pub values: Vec<f32>,
}

/// An entry whose text has no vector of a model yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Unembedded {
    /// Where the store found it; the next page begins after it.
    pub cursor: u64,
    /// Whose it is.
    pub scope: Scope,
    /// See [`Kept`].
    pub number: u64,
    /// See [`Kept`].
    pub version: u64,
    /// The text.
    pub content: String,
}

/// What may be there when a backup is taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Onto {
    /// Whatever it is: it stays.
    Anything,
    /// No session and no entry, of anybody; otherwise it is [`StoreError::NotEmpty`].
    Nothing,
}

/// What a store that searches by itself is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted<'a> {
    /// The query as it was typed.
    pub text: &'a str,
    /// Its vector, and the model that made it, when there is one.
    pub dense: Option<(&'a str, &'a [f32])>,
    /// Which entries may be offered.
    pub filter: &'a Filter,
    /// The most entries to offer; more than the caller will show, for they are ranked once more.
    pub limit: u32,
}

/// The right to do what one replica does for all; it ends when this is dropped.
#[derive(Default)]
pub struct Claim(Option<Box<dyn Send + Sync>>);

impl Claim {
    /// One that lasts as long as this does.
    pub fn held_by(holder: impl Send + Sync + 'static) -> Self {
        Self(Some(Box::new(holder)))
    }
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim").field("shared", &self.0.is_some()).finish()
    }
}

/// A place where entries and sessions are kept. What a write acknowledged is never lost.
pub trait Store: Send + Sync + 'static {
    /// Stores drafts in one transaction, in order. A content or an idempotency key that the scope holds already is
    /// answered with the entry that is there; entries that were put away do not count by their content. An entry that is
    /// recognised by its content keeps the key from then on, if it has none. A key that was
    /// used for another content, or for a message, before or in this call, is [`StoreError::KeyReused`].
    fn insert(&self, scope: &Scope, drafts: Vec<Draft>) -> impl Answer<Vec<Inserted>>;

    /// Replaces an entry if it still is at `version`; answers with the new version, or `None` if it is not.
    fn replace(&self, scope: &Scope, kept: (u64, u64), draft: Draft) -> impl Answer<Option<u64>>;

    /// Deletes an entry for good; answers whether it was there.
    fn delete(&self, scope: &Scope, id: &str) -> impl Answer<bool>;

    /// The entry with this id, put away or not.
    fn get(&self, scope: &Scope, id: &str) -> impl Answer<Option<Kept>>;

    /// The entries at these places that are there and not put away, in any order.
    fn get_many(&self, scope: &Scope, numbers: &[u64]) -> impl Answer<Vec<Kept>>;

    /// The newest entries, newest first.
    fn recent(&self, scope: &Scope, filter: &Filter, limit: u32) -> impl Answer<Page<Entry>>;

    /// Keeps a session whose id is new in its scope.
    fn begin(&self, scope: &Scope, session: Session) -> impl Answer<()>;

    /// Keeps a message. A session that does not exist begins with it, and a session without a fixed end
    /// goes on: in both cases until `open_end`.
    fn say(&self, scope: &Scope, message: Draft, open_end: Moment) -> impl Answer<Said>;

    /// A session of this scope.
    fn session(&self, scope: &Scope, session_id: &str) -> impl Answer<Option<Session>>;

    /// The newest messages of a session, before a point if one is given; `None` without such a session.
    fn history(
        &self,
        scope: &Scope,
        session_id: &str,
        before: Option<&Before>,
        limit: u32,
    ) -> impl Answer<Option<History>>;

    /// The agents of a tenant that have a session of this id, at most `limit` of them.
    fn agents_with_session(&self, tenant: &str, session_id: &str, limit: u32) -> impl Answer<Vec<String>>;

    /// How many changes the scope has seen: 0 for one that nothing was ever stored in.
    fn version(&self, scope: &Scope) -> impl Answer<u64>;

    /// How often the store was replaced under way by one that may lack the end of what it had told: a database that was
    /// restarted, or another server of it. Versions, and numbers of entries, mean something within one life only.
    /// Asked after a version, it is at least that version's; a version that was read before belongs to no later life.
    fn lives(&self) -> u64 {
        0
    }

    /// The changes after `version`, oldest first, at most `limit`. An entry that changed several times is told of
    /// once, with its last version. Vectors are those of `model`.
    fn changes_since(
        &self,
        scope: &Scope,
        version: u64,
        model: Option<&str>,
        limit: u32,
    ) -> impl Answer<Changes>;

    /// The entries after a place in order, those that were put away left out, at most `limit`. Whoever loads a scope page by page
    /// asks for its version first and follows the changes since then afterwards.
    fn load(&self, scope: &Scope, after: u64, model: Option<&str>, limit: u32) -> impl Answer<Vec<Indexed>>;

    /// How many entries the scope holds that are not put away.
    fn size(&self, scope: &Scope) -> impl Answer<u64>;

    /// The best entries by the store's own indexes, for scopes that are too large to be held in memory. A store
    /// that has none answers `None`.
    fn candidates(&self, scope: &Scope, wanted: &Wanted<'_>) -> impl Answer<Option<Vec<Indexed>>> {
        let _ = (scope, wanted);
        std::future::ready(Ok(None))
    }

    /// Keeps analyses that were made anew, `(number, version, analysis)`, where the entry is still at that
    /// version. The version stays: the text is the same.
    fn keep_analyses(&self, scope: &Scope, analyses: Vec<(u64, u64, Vec<u8>)>) -> impl Answer<()>;

    /// Keeps vectors of a model in place of those of any other. Those whose entry has changed are dropped.
    fn keep_vectors(&self, scope: &Scope, model: &str, vectors: Vec<Vector>) -> impl Answer<()>;

    /// Entries of all scopes that have no vector of this model, after a cursor of before (0 at first).
    fn unembedded(&self, model: &str, after: u64, limit: u32) -> impl Answer<Vec<Unembedded>>;

    /// The right to give all of these entries vectors; `None` while another replica has it. A store that only one
    /// process uses gives it always.
    fn claim_unembedded(&self) -> impl Answer<Option<Claim>> {
        std::future::ready(Ok(Some(Claim::default())))
    }

    /// Puts entries away for the optimisation `run_id`; answers how many. One that has changed since it was looked at stays, and
    /// so does one whose survivor has.
    fn archive(&self, scope: &Scope, run_id: &str, at: Moment, archivals: Vec<Archival>) -> impl Answer<u64>;

    /// Brings back what a run put away, or all runs, portion by portion; answers how many.
    fn unarchive(&self, scope: &Scope, run_id: Option<&str>) -> impl Answer<u64>;

    /// Deletes for good what a run put away, or all runs, portion by portion; answers how many.
    fn purge(&self, scope: &Scope, run_id: Option<&str>) -> impl Answer<u64>;

    /// What the store holds at that instant, of one agent or of all of a tenant.
    fn statistics(&self, tenant: &str, agent_id: Option<&str>, now: Moment) -> impl Answer<Statistics>;

    /// The scopes after one of them, in their order, at most `limit`.
    fn scopes(&self, after: Option<&Scope>, limit: u32) -> impl Answer<Vec<Scope>>;

    /// The scopes that were last written to, of one tenant or of all, latest first.
    fn recent_scopes(&self, tenant: Option<&str>, limit: u32) -> impl Answer<Vec<Scope>>;

    /// The entries of a scope after a place, those that were put away among them, for a backup.
    fn export_entries(&self, scope: &Scope, after: u64, limit: u32) -> impl Answer<Vec<(Kept, Option<Key>)>>;

    /// The sessions of a scope after an id, in the order of ids, for a backup.
    fn export_sessions(&self, scope: &Scope, after: Option<&str>, limit: u32) -> impl Answer<Vec<Session>>;

    /// Takes in what a backup holds: what is there already, by its id, is left as it is. Answers how many entries
    /// and sessions were new. A message whose session neither is there nor comes with it, or came before, brings into being one
    /// that ended with it and that the next message moves on.
    fn import(
        &self,
        scope: &Scope,
        sessions: Vec<Session>,
        drafts: Vec<Draft>,
        onto: Onto,
    ) -> impl Answer<(u64, u64)>;

    /// Puts other limits into force before what the store calls, for one that calls something.
    fn take_resilience(&self, resilience: &Resilience) {
        let _ = resilience;
    }

    /// The state of the circuit breaker before it, for a store that has one.
    fn circuit_breaker(&self) -> Option<State> {
        None
    }

    /// Whether the store answers.
    fn check(&self) -> impl Answer<()>;

    /// Finishes the writes that were taken on, then lets go of everything.
    fn close(&self) -> impl Future<Output = ()> + Send;
}
