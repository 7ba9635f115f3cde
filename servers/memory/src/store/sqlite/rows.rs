//! From rows to values, and the look-ups that reading and writing share.

use crate::model::{Memory, Message, Role, Session};
use crate::moment::Moment;
use rmcp::model::JsonObject;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

/// The number of an agent that ever stored a memory.
pub(super) async fn agent_number(
    connection: &mut SqliteConnection,
    agent_id: &str,
) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar("SELECT number FROM agents WHERE agent_id = ?")
        .bind(agent_id)
        .fetch_optional(connection)
        .await
}

/// A session and its number.
pub(super) async fn session(
    connection: &mut SqliteConnection,
    id: &str,
) -> Result<Option<(i64, Session)>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT number, id, agent_id, user_id, metadata, created_at, expires_at, fixed
         FROM sessions WHERE id = ?",
    )
    .bind(id)
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        let session = Session {
            id: row.try_get("id")?,
            agent_id: row.try_get("agent_id")?,
            user_id: row.try_get("user_id")?,
            metadata: object(&row, "metadata")?,
            created_at: moment(&row, "created_at")?,
            expires_at: moment(&row, "expires_at")?,
            fixed: row.try_get("fixed")?,
        };
        Ok((row.try_get("number")?, session))
    })
    .transpose()
}

/// A memory; whose it is, the caller knows.
pub(super) fn memory(row: &SqliteRow, agent_id: &str) -> Result<Memory, sqlx::Error> {
    Ok(Memory {
        id: row.try_get("id")?,
        agent_id: agent_id.to_owned(),
        session_id: row.try_get("session_id")?,
        memory_type: row.try_get("memory_type")?,
        content: row.try_get("content")?,
        context: object(row, "context")?,
        importance: row.try_get("importance")?,
        created_at: moment(row, "created_at")?,
    })
}

/// A message; which session it belongs to, the caller knows.
pub(super) fn message(row: &SqliteRow, session_id: &str) -> Result<Message, sqlx::Error> {
    let role: &str = row.try_get("role")?;
    let role =
        Role::of_name(role).ok_or_else(|| unreadable("role", format!("{role:?} is no role").into()))?;
    Ok(Message {
        id: row.try_get("id")?,
        session_id: session_id.to_owned(),
        agent_id: row.try_get("agent_id")?,
        user_id: row.try_get("user_id")?,
        role,
        message: row.try_get("message")?,
        created_at: moment(row, "created_at")?,
    })
}

/// An instant in a column.
pub(super) fn moment(row: &SqliteRow, column: &str) -> Result<Moment, sqlx::Error> {
    row.try_get(column).map(Moment)
}

fn object(row: &SqliteRow, column: &str) -> Result<Option<JsonObject>, sqlx::Error> {
    let text: Option<&str> = row.try_get(column)?;
    text.map(serde_json::from_str).transpose().map_err(|error| unreadable(column, error.into()))
}

fn unreadable(column: &str, source: Box<dyn std::error::Error + Send + Sync>) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source }
}
