//! From rows to values and back.

use crate::model::{Archived, ContentHash, Entry, Indexed, Kept, Key, Kind, Role, Session, Speaker};
use crate::moment::Moment;
use rmcp::model::JsonObject;
use serde::Deserialize;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

/// The columns that [`kept`] and [`entry`] read.
pub(super) const ENTRY: &str = "e.number, e.version, e.id, e.role, e.user_id, e.session_id, e.memory_type, \
    e.content, e.context, e.importance, e.created_at, e.updated_at, e.archived_at, e.archived_by, e.merged_into";

/// The columns that [`together`] reads; the third of `wanted` tells who wants the entry. Floats are written and read as text:
/// `serde_json` would round their last digit.
pub(super) const TOGETHER: &str = "json_group_array(json_array(wanted.column3, e.number, e.version, e.id, \
    e.role, e.user_id, e.session_id, e.memory_type, e.content, e.context, format('%!.17g', e.importance), \
    e.created_at, e.updated_at))";

/// The columns that [`indexed`] reads; `v` are the vectors of one model.
pub(super) const INDEXED: &str = "e.number, e.version, e.role, e.session_id, e.memory_type, e.importance, \
    e.created_at, e.analysis, v.vector";

/// The columns that [`session`] reads.
pub(super) const SESSION: &str = "id, user_id, metadata, created_at, expires_at, fixed";

pub(super) fn kept(row: &SqliteRow) -> Result<Kept, sqlx::Error> {
    Ok(Kept { number: unsigned(row, "number")?, version: unsigned(row, "version")?, entry: entry(row)? })
}

/// An entry that was not put away, as [`TOGETHER`] writes it: a list of these, in this order.
#[derive(Deserialize)]
struct Written {
    whose: usize,
    number: u64,
    version: u64,
    id: String,
    role: Option<Role>,
    user_id: Option<String>,
    session_id: Option<String>,
    memory_type: String,
    content: String,
    context: Option<String>,
    importance: String,
    created_at: i64,
    updated_at: i64,
}

/// Entries of one text, each with the place of whoever wants it. Rows of their own would be handed from the connection's
/// thread to the caller one by one and column by column, which takes longer than reading them.
pub(super) fn together(text: &str) -> Result<Vec<(usize, Kept)>, sqlx::Error> {
    let unreadable = |error: Box<dyn std::error::Error + Send + Sync>| unreadable("entries", error);
    let written: Vec<Written> = serde_json::from_str(text).map_err(|error| unreadable(error.into()))?;
    let kept = written.into_iter().map(|it| {
        let context = it.context.map(|context| serde_json::from_str(&context)).transpose();
        let entry = Entry {
            id: it.id,
            speaker: it.role.map(|role| Speaker { role, user_id: it.user_id }),
            session_id: it.session_id,
            memory_type: it.memory_type,
            content: it.content,
            context: context.map_err(|error| unreadable(error.into()))?,
            importance: it.importance.parse::<f64>().map_err(|error| unreadable(error.into()))?,
            created_at: Moment(it.created_at),
            updated_at: Moment(it.updated_at),
            archived: None,
        };
        Ok((it.whose, Kept { number: it.number, version: it.version, entry }))
    });
    kept.collect()
}

pub(super) fn entry(row: &SqliteRow) -> Result<Entry, sqlx::Error> {
    let speaker = match row.try_get::<Option<&str>, _>("role")? {
        None => None,
        Some(role) => Some(Speaker {
            role: Role::of_name(role)
                .ok_or_else(|| unreadable("role", format!("{role:?} is no role").into()))?,
            user_id: row.try_get("user_id")?,
        }),
    };
    let archived = match row.try_get::<Option<i64>, _>("archived_at")? {
        None => None,
        Some(at) => Some(Archived {
            at: Moment(at),
            run_id: row.try_get::<Option<String>, _>("archived_by")?.unwrap_or_default(),
            merged_into: row.try_get("merged_into")?,
        }),
    };
    Ok(Entry {
        id: row.try_get("id")?,
        speaker,
        session_id: row.try_get("session_id")?,
        memory_type: row.try_get("memory_type")?,
        content: row.try_get("content")?,
        context: object(row, "context")?,
        importance: row.try_get("importance")?,
        created_at: moment(row, "created_at")?,
        updated_at: moment(row, "updated_at")?,
        archived,
    })
}

pub(super) fn indexed(row: &SqliteRow) -> Result<Indexed, sqlx::Error> {
    let role: Option<&str> = row.try_get("role")?;
    let vector: Option<&[u8]> = row.try_get("vector")?;
    Ok(Indexed {
        number: unsigned(row, "number")?,
        version: unsigned(row, "version")?,
        kind: if role.is_some() { Kind::Message } else { Kind::Memory },
        memory_type: row.try_get("memory_type")?,
        session_id: row.try_get("session_id")?,
        importance: row.try_get("importance")?,
        created_at: moment(row, "created_at")?,
        analysis: row.try_get::<Option<Vec<u8>>, _>("analysis")?.unwrap_or_default(),
        dense: vector.map(floats),
    })
}

pub(super) fn session(row: &SqliteRow) -> Result<Session, sqlx::Error> {
    Ok(Session {
        id: row.try_get("id")?,
        user_id: row.try_get("user_id")?,
        metadata: object(row, "metadata")?,
        created_at: moment(row, "created_at")?,
        expires_at: moment(row, "expires_at")?,
        fixed: row.try_get("fixed")?,
    })
}

/// The idempotency key of an entry.
pub(super) fn key(row: &SqliteRow) -> Result<Option<Key>, sqlx::Error> {
    let Some(name) = row.try_get::<Option<String>, _>("idempotency_key")? else { return Ok(None) };
    let hash: Option<Vec<u8>> = row.try_get("key_hash")?;
    Ok(Some(Key { name, used_for: hash.and_then(|hash| <[u8; 16]>::try_from(hash).ok()).map(ContentHash) }))
}

/// An instant in a column.
pub(super) fn moment(row: &SqliteRow, column: &str) -> Result<Moment, sqlx::Error> {
    row.try_get(column).map(Moment)
}

/// A number that is never negative.
pub(super) fn unsigned(row: &SqliteRow, column: &str) -> Result<u64, sqlx::Error> {
    row.try_get::<i64, _>(column).map(i64::cast_unsigned)
}

fn object(row: &SqliteRow, column: &str) -> Result<Option<JsonObject>, sqlx::Error> {
    let text: Option<&str> = row.try_get(column)?;
    text.map(serde_json::from_str).transpose().map_err(|error| unreadable(column, error.into()))
}

/// An object as the store keeps it.
pub(super) fn text(object: Option<&JsonObject>) -> Option<String> {
    object.and_then(|object| serde_json::to_string(object).ok())
}

/// A vector as the store keeps it.
pub(super) fn bytes(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect()
}

fn unreadable(column: &str, source: Box<dyn std::error::Error + Send + Sync>) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source }
}
