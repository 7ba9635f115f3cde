//! The statements that change the store. Each runs inside a transaction of the writer.

use super::super::StoreError;
use super::rows;
use crate::model::{Memory, Message, Said, Session};
use crate::moment::Moment;
use rmcp::model::JsonObject;
use sqlx::SqliteConnection;

/// Something to be written.
#[derive(Debug)]
pub(super) enum Write {
    Memory(Memory),
    Session(Session),
    /// A message, and until when a session without a fixed end lives after it.
    Message(Message, Moment),
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Written {
    Done,
    Said(Said),
}

/// A write that was carried out, or refused before it changed anything.
pub(super) type Outcome = Result<Written, StoreError>;

/// Carries out one write. An error leaves it half done: the transaction must then be rolled back.
pub(super) async fn apply(connection: &mut SqliteConnection, write: &Write) -> Result<Outcome, sqlx::Error> {
    match write {
        Write::Memory(memory) => {
            insert_memory(connection, memory).await?;
            Ok(Ok(Written::Done))
        }
        Write::Session(session) => {
            insert_session(connection, session).await?;
            Ok(Ok(Written::Done))
        }
        Write::Message(message, open_end) => insert_message(connection, message, *open_end).await,
    }
}

async fn insert_memory(connection: &mut SqliteConnection, memory: &Memory) -> Result<(), sqlx::Error> {
    let agent = match rows::agent_number(&mut *connection, &memory.agent_id).await? {
        Some(agent) => agent,
        None => {
            sqlx::query_scalar("INSERT INTO agents (agent_id) VALUES (?) RETURNING number")
                .bind(&memory.agent_id)
                .fetch_one(&mut *connection)
                .await?
        }
    };
    sqlx::query(
        "INSERT INTO memories
             (number, id, agent, session_id, memory_type, content, context, importance, created_at)
         VALUES (
             (SELECT coalesce(max(number), ?2 << 40) + 1 FROM memories
              WHERE number BETWEEN ?2 << 40 AND (?2 + 1 << 40) - 1),
             ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )
    .bind(&memory.id)
    .bind(agent)
    .bind(&memory.session_id)
    .bind(&memory.memory_type)
    .bind(&memory.content)
    .bind(text(memory.context.as_ref()))
    .bind(memory.importance)
    .bind(memory.created_at.0)
    .execute(&mut *connection)
    .await?;
    Ok(())
}

/// Returns whether the session is new.
async fn insert_session(connection: &mut SqliteConnection, session: &Session) -> Result<bool, sqlx::Error> {
    let inserted = sqlx::query(
        "INSERT INTO sessions (id, agent_id, user_id, metadata, created_at, expires_at, fixed)
         VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
    )
    .bind(&session.id)
    .bind(&session.agent_id)
    .bind(&session.user_id)
    .bind(text(session.metadata.as_ref()))
    .bind(session.created_at.0)
    .bind(session.expires_at.0)
    .bind(session.fixed)
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

async fn insert_message(
    connection: &mut SqliteConnection,
    message: &Message,
    open_end: Moment,
) -> Result<Outcome, sqlx::Error> {
    let beginning = Session {
        id: message.session_id.clone(),
        agent_id: message.agent_id.clone(),
        user_id: message.user_id.clone(),
        metadata: None,
        created_at: message.created_at,
        expires_at: open_end,
        fixed: false,
    };
    let begun = insert_session(&mut *connection, &beginning).await?;
    let Some((number, mut session)) = rows::session(&mut *connection, &message.session_id).await? else {
        return Err(sqlx::Error::RowNotFound);
    };
    if session.fixed && session.ended(message.created_at) {
        return Ok(Err(StoreError::SessionEnded { id: session.id, at: session.expires_at }));
    }
    if !session.fixed && session.expires_at < open_end {
        sqlx::query("UPDATE sessions SET expires_at = ? WHERE number = ?")
            .bind(open_end.0)
            .bind(number)
            .execute(&mut *connection)
            .await?;
        session.expires_at = open_end;
    }
    sqlx::query(
        "INSERT INTO messages (id, session, agent_id, user_id, role, message, created_at)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&message.id)
    .bind(number)
    .bind(&message.agent_id)
    .bind(&message.user_id)
    .bind(message.role.name())
    .bind(&message.message)
    .bind(message.created_at.0)
    .execute(&mut *connection)
    .await?;
    Ok(Ok(Written::Said(Said { session, begun })))
}

/// An object as the store keeps it.
fn text(object: Option<&JsonObject>) -> Option<String> {
    object.and_then(|object| serde_json::to_string(object).ok())
}
