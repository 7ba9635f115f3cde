//! From rows to values and back.

use super::text;
use crate::model::{Archived, ContentHash, Entry, Indexed, Kept, Key, Kind, Role, Session, Speaker};
use crate::moment::Moment;
use rmcp::model::JsonObject;
use sqlx::Row;
use sqlx::postgres::PgRow;

/// The columns that [`kept`] and [`entry`] read.
pub(super) const ENTRY: &str = "e.number, e.version, e.id, e.role, e.user_id, e.session_id, e.memory_type, \
    e.content, e.context, e.importance, e.created_at, e.updated_at, e.archived_at, e.archived_by, e.merged_into";

/// The columns that [`indexed`] reads; `v` are the vectors of one model.
pub(super) const INDEXED: &str = "e.number, e.version, e.role, e.session_id, e.memory_type, e.importance, \
    e.created_at, e.analysis, v.vector::real[] AS vector";

/// The columns that [`session`] reads.
pub(super) const SESSION: &str = "id, user_id, metadata, created_at, expires_at, fixed";

pub(super) fn kept(row: &PgRow) -> Result<Kept, sqlx::Error> {
    Ok(Kept { number: unsigned(row, "number")?, version: unsigned(row, "version")?, entry: entry(row)? })
}

pub(super) fn entry(row: &PgRow) -> Result<Entry, sqlx::Error> {
    let speaker = match row.try_get::<Option<&str>, _>("role")? {
        None => None,
        Some(role) => Some(Speaker {
            role: Role::of_name(role)
                .ok_or_else(|| unreadable("role", format!("{role:?} is no role").into()))?,
            user_id: optional(row, "user_id")?,
        }),
    };
    let archived = match row.try_get::<Option<i64>, _>("archived_at")? {
        None => None,
        Some(at) => Some(Archived {
            at: Moment(at),
            run_id: optional(row, "archived_by")?.unwrap_or_default(),
            merged_into: optional(row, "merged_into")?,
        }),
    };
    Ok(Entry {
        id: required(row, "id")?,
        speaker,
        session_id: optional(row, "session_id")?,
        memory_type: required(row, "memory_type")?,
        content: required(row, "content")?,
        context: object(row, "context")?,
        importance: row.try_get("importance")?,
        created_at: moment(row, "created_at")?,
        updated_at: moment(row, "updated_at")?,
        archived,
    })
}

pub(super) fn indexed(row: &PgRow) -> Result<Indexed, sqlx::Error> {
    let role: Option<&str> = row.try_get("role")?;
    Ok(Indexed {
        number: unsigned(row, "number")?,
        version: unsigned(row, "version")?,
        kind: if role.is_some() { Kind::Message } else { Kind::Memory },
        memory_type: required(row, "memory_type")?,
        session_id: optional(row, "session_id")?,
        importance: row.try_get("importance")?,
        created_at: moment(row, "created_at")?,
        analysis: row.try_get::<Option<Vec<u8>>, _>("analysis")?.unwrap_or_default(),
        dense: row.try_get("vector")?,
    })
}

pub(super) fn session(row: &PgRow) -> Result<Session, sqlx::Error> {
    Ok(Session {
        id: required(row, "id")?,
        user_id: optional(row, "user_id")?,
        metadata: object(row, "metadata")?,
        created_at: moment(row, "created_at")?,
        expires_at: moment(row, "expires_at")?,
        fixed: row.try_get("fixed")?,
    })
}

/// All rows as values.
pub(super) fn all<T>(
    rows: &[PgRow],
    read: fn(&PgRow) -> Result<T, sqlx::Error>,
) -> Result<Vec<T>, sqlx::Error> {
    rows.iter().map(read).collect()
}

/// The idempotency key of an entry.
pub(super) fn key(row: &PgRow) -> Result<Option<Key>, sqlx::Error> {
    let Some(name) = optional(row, "idempotency_key")? else { return Ok(None) };
    let hash: Option<Vec<u8>> = row.try_get("key_hash")?;
    Ok(Some(Key { name, used_for: hash.and_then(|hash| <[u8; 16]>::try_from(hash).ok()).map(ContentHash) }))
}

/// An instant in a column.
pub(super) fn moment(row: &PgRow, column: &str) -> Result<Moment, sqlx::Error> {
    row.try_get(column).map(Moment)
}

/// A number that is never negative.
pub(super) fn unsigned(row: &PgRow, column: &str) -> Result<u64, sqlx::Error> {
    row.try_get::<i64, _>(column).map(i64::cast_unsigned)
}

/// A text that is always there.
pub(super) fn required(row: &PgRow, column: &str) -> Result<String, sqlx::Error> {
    row.try_get(column).map(text::given)
}

/// A text that may be missing.
pub(super) fn optional(row: &PgRow, column: &str) -> Result<Option<String>, sqlx::Error> {
    Ok(row.try_get::<Option<String>, _>(column)?.map(text::given))
}

fn object(row: &PgRow, column: &str) -> Result<Option<JsonObject>, sqlx::Error> {
    let kept = optional(row, column)?;
    kept.as_deref().map(serde_json::from_str).transpose().map_err(|error| unreadable(column, error.into()))
}

/// An object as the store keeps it.
pub(super) fn json(object: Option<&JsonObject>) -> Option<String> {
    let written = object.and_then(|object| serde_json::to_string(object).ok());
    written.map(|written| text::kept(&written).into_owned())
}

/// A vector as pgvector reads it.
pub(super) fn vector(values: &[f32]) -> String {
    let numbers: Vec<String> = values.iter().map(f32::to_string).collect();
    format!("[{}]", numbers.join(","))
}

fn unreadable(column: &str, source: Box<dyn std::error::Error + Send + Sync>) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source }
}
