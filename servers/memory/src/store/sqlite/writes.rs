//! The statements that change entries and sessions. Each runs inside a transaction of the writer.

use super::ledger::Ledger;
use super::places::Place;
use super::rows;
use super::writer::Write;
use crate::model::{ContentHash, Draft, Inserted, Kind, Said, Scope, Session, ambiguous_key};
use crate::moment::Moment;
use crate::store::StoreError;
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Row, Sqlite};
use std::collections::HashMap;

type Outcome<T> = Result<Result<T, StoreError>, sqlx::Error>;

/// See [`crate::store::Store::insert`].
pub(super) struct Insert {
    pub(super) scope: Scope,
    pub(super) drafts: Vec<Draft>,
}

impl Write for Insert {
    type Written = Vec<Inserted>;

    async fn apply(&self, ledger: &mut Ledger<'_>) -> Outcome<Vec<Inserted>> {
        // A reused key refuses the whole call, so it is looked for before anything is written.
        if let Some(key) = ambiguous_key(&self.drafts) {
            return Ok(Err(StoreError::KeyReused { key: key.to_owned() }));
        }
        let mut place = ledger.open(&self.scope).await?;
        let mut known = Vec::with_capacity(self.drafts.len());
        for draft in &self.drafts {
            match same_key(ledger, place, draft).await? {
                Ok(found) => known.push(found),
                Err(error) => return Ok(Err(error)),
            }
        }
        let mut inserted = Vec::with_capacity(self.drafts.len());
        let mut in_this_call: HashMap<&str, Inserted> = HashMap::new();
        for (draft, known) in self.drafts.iter().zip(known) {
            let key = draft.idempotency_key.as_ref().map(|key| key.name.as_str());
            let known = known.or_else(|| in_this_call.get(key?).cloned());
            let done = match known {
                Some(known) => Inserted { duplicate: true, ..known },
                None => put_new(ledger, &mut place, draft).await?,
            };
            if let Some(key) = key {
                in_this_call.insert(key, done.clone());
            }
            inserted.push(done);
        }
        ledger.note(&self.scope, place);
        Ok(Ok(inserted))
    }
}

/// The entry that was stored with the draft's idempotency key.
async fn same_key(
    ledger: &mut Ledger<'_>,
    place: Place,
    draft: &Draft,
) -> Result<Result<Option<Inserted>, StoreError>, sqlx::Error> {
    let Some(key) = &draft.idempotency_key else { return Ok(Ok(None)) };
    let row = sqlx::query(
        "SELECT id, memory_type, importance, number, version, created_at, updated_at, content, role, session_id,
             idempotency_key, key_hash
         FROM entries WHERE scope = ? AND idempotency_key = ?",
    )
    .bind(place.scope)
    .bind(&key.name)
    .fetch_optional(&mut *ledger.connection)
    .await?;
    let Some(row) = row else { return Ok(Ok(None)) };
    let found = there(&row)?;
    let mut used_for = rows::key(&row)?.and_then(|key| key.used_for);
    if used_for.is_none() && found.created_at == rows::moment(&row, "updated_at")? {
        used_for = Some(ContentHash::of(row.try_get("content")?));
    }
    let is_another = used_for.is_some() && used_for != key.used_for;
    if is_another || !draft.may_have_made(row.try_get("role")?, row.try_get("session_id")?) {
        return Ok(Err(StoreError::KeyReused { key: key.name.clone() }));
    }
    Ok(Ok(Some(found)))
}

/// The entry that holds the draft's content.
async fn same_content(
    ledger: &mut Ledger<'_>,
    place: Place,
    draft: &Draft,
) -> Result<Option<Inserted>, sqlx::Error> {
    let Some(ContentHash(hash)) = draft.hash() else { return Ok(None) };
    let row = sqlx::query(
        "SELECT id, memory_type, importance, number, version, created_at FROM entries
         WHERE scope = ? AND hash = +? AND archived_at IS NULL ORDER BY number LIMIT 1",
    )
    .bind(place.scope)
    .bind(hash.as_slice())
    .fetch_optional(&mut *ledger.connection)
    .await?;
    row.as_ref().map(there).transpose()
}

fn there(row: &sqlx::sqlite::SqliteRow) -> Result<Inserted, sqlx::Error> {
    Ok(Inserted {
        id: row.try_get("id")?,
        memory_type: row.try_get("memory_type")?,
        importance: row.try_get("importance")?,
        created_at: rows::moment(row, "created_at")?,
        number: rows::unsigned(row, "number")?,
        version: rows::unsigned(row, "version")?,
        duplicate: true,
    })
}

/// Stores an entry under the next number and the next version.
pub(super) async fn put(
    ledger: &mut Ledger<'_>,
    place: &mut Place,
    draft: &Draft,
) -> Result<Inserted, sqlx::Error> {
    let (inserted, next) = next(*place, draft);
    insertion(INSERT, next, draft).execute(&mut *ledger.connection).await?;
    *place = next;
    Ok(inserted)
}

/// The same, unless its content is there already. Both in one statement: what takes time is the way to the thread that
/// runs it.
async fn put_new(ledger: &mut Ledger<'_>, place: &mut Place, draft: &Draft) -> Result<Inserted, sqlx::Error> {
    let Some(hash) = draft.hash() else { return put(ledger, place, draft).await };
    let (inserted, next) = next(*place, draft);
    let insertion = insertion(INSERT_UNLESS_THERE, next, draft).bind(place.scope).bind(hash.0.to_vec());
    if insertion.execute(&mut *ledger.connection).await?.rows_affected() == 1 {
        *place = next;
        return Ok(inserted);
    }
    let held = same_content(ledger, *place, draft).await?.ok_or(sqlx::Error::RowNotFound)?;
    keep_key(ledger, *place, held.number, draft).await?;
    Ok(held)
}

/// Has an entry that holds a draft's content keep its key too, where it has none: a repetition of that store is recognised
/// whatever becomes of the entry.
async fn keep_key(
    ledger: &mut Ledger<'_>,
    place: Place,
    number: u64,
    draft: &Draft,
) -> Result<(), sqlx::Error> {
    let Some(key) = &draft.idempotency_key else { return Ok(()) };
    sqlx::query(
        "UPDATE entries SET idempotency_key = ?, key_hash = ?
         WHERE number = ? AND scope = ? AND idempotency_key IS NULL",
    )
    .bind(&key.name)
    .bind(key.used_for.map(|hash| hash.0.to_vec()))
    .bind(number.cast_signed())
    .bind(place.scope)
    .execute(&mut *ledger.connection)
    .await?;
    Ok(())
}

/// Where the scope stands once a draft is stored, and what its caller learns.
fn next(place: Place, draft: &Draft) -> (Inserted, Place) {
    let mut next = Place { last: place.last + 1, version: place.version + 1, ..place };
    next.written(draft.entry.created_at);
    (Inserted::new(&draft.entry, next.last, next.version), next)
}

macro_rules! insert {
    ($condition:literal) => {
        concat!(
            "INSERT INTO entries (number, scope, version, id, role, user_id, session_id, memory_type, content, context,
                 importance, created_at, updated_at, hash, idempotency_key, key_hash, archived_at, archived_by,
                 merged_into, analysis)
             SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?",
            $condition
        )
    };
}

const INSERT: &str = insert!("");
const INSERT_UNLESS_THERE: &str = insert!(
    " WHERE NOT EXISTS (SELECT 1 FROM entries WHERE scope = ? AND hash = +? AND archived_at IS NULL)"
);

fn insertion<'a>(
    statement: &'static str,
    place: Place,
    draft: &'a Draft,
) -> Query<'a, Sqlite, SqliteArguments> {
    let entry = &draft.entry;
    let archived = entry.archived.as_ref();
    let key = draft.idempotency_key.as_ref();
    sqlx::query(statement)
        .bind(place.last)
        .bind(place.scope)
        .bind(place.version)
        .bind(&entry.id)
        .bind(entry.speaker.as_ref().map(|speaker| speaker.role.name()))
        .bind(entry.speaker.as_ref().and_then(|speaker| speaker.user_id.as_ref()))
        .bind(&entry.session_id)
        .bind(&entry.memory_type)
        .bind(&entry.content)
        .bind(rows::text(entry.context.as_ref()))
        .bind(entry.importance)
        .bind(entry.created_at.0)
        .bind(entry.updated_at.0)
        .bind(draft.hash().map(|hash| hash.0.to_vec()))
        .bind(key.map(|key| &key.name))
        .bind(key.and_then(|key| key.used_for).map(|hash| hash.0.to_vec()))
        .bind(archived.map(|archived| archived.at.0))
        .bind(archived.map(|archived| &archived.run_id))
        .bind(archived.and_then(|archived| archived.merged_into.as_ref()))
        .bind(draft.analysis.as_slice())
}

/// See [`crate::store::Store::replace`].
pub(super) struct Replace {
    pub(super) scope: Scope,
    pub(super) number: u64,
    pub(super) version: u64,
    pub(super) draft: Draft,
}

impl Write for Replace {
    type Written = Option<u64>;

    async fn apply(&self, ledger: &mut Ledger<'_>) -> Outcome<Option<u64>> {
        let Some(mut place) = ledger.find(&self.scope).await? else { return Ok(Ok(None)) };
        let entry = &self.draft.entry;
        let version = place.version + 1;
        let replaced = sqlx::query(
            "UPDATE entries SET version = ?, session_id = ?, memory_type = ?, content = ?, context = ?, importance = ?,
                 updated_at = ?, hash = ?, analysis = ?
             WHERE number = ? AND scope = ? AND version = ? AND archived_at IS NULL",
        )
        .bind(version)
        .bind(&entry.session_id)
        .bind(&entry.memory_type)
        .bind(&entry.content)
        .bind(rows::text(entry.context.as_ref()))
        .bind(entry.importance)
        .bind(entry.updated_at.0)
        .bind(self.draft.hash().map(|hash| hash.0.to_vec()))
        .bind(self.draft.analysis.as_slice())
        .bind(self.number.cast_signed())
        .bind(place.scope)
        .bind(self.version.cast_signed())
        .execute(&mut *ledger.connection)
        .await?;
        if replaced.rows_affected() == 0 {
            return Ok(Ok(None));
        }
        sqlx::query("DELETE FROM vectors WHERE number = ?")
            .bind(self.number.cast_signed())
            .execute(&mut *ledger.connection)
            .await?;
        place.version = version;
        place.written(entry.updated_at);
        ledger.note(&self.scope, place);
        Ok(Ok(Some(version.cast_unsigned())))
    }
}

/// See [`crate::store::Store::delete`].
pub(super) struct Delete {
    pub(super) scope: Scope,
    pub(super) id: String,
}

impl Write for Delete {
    type Written = bool;

    async fn apply(&self, ledger: &mut Ledger<'_>) -> Outcome<bool> {
        let Some(mut place) = ledger.find(&self.scope).await? else { return Ok(Ok(false)) };
        let number: Option<i64> = sqlx::query_scalar("SELECT number FROM entries WHERE scope = ? AND id = ?")
            .bind(place.scope)
            .bind(&self.id)
            .fetch_optional(&mut *ledger.connection)
            .await?;
        let Some(number) = number else { return Ok(Ok(false)) };
        ledger.delete(&mut place, number).await?;
        ledger.note(&self.scope, place);
        Ok(Ok(true))
    }
}

/// See [`crate::store::Store::begin`].
pub(super) struct Begin {
    pub(super) scope: Scope,
    pub(super) session: Session,
}

impl Write for Begin {
    type Written = ();

    async fn apply(&self, ledger: &mut Ledger<'_>) -> Outcome<()> {
        let place = ledger.open(&self.scope).await?;
        begin(ledger, place, &self.session).await?;
        Ok(Ok(()))
    }
}

/// Returns whether the session is new.
pub(super) async fn begin(
    ledger: &mut Ledger<'_>,
    place: Place,
    session: &Session,
) -> Result<bool, sqlx::Error> {
    let inserted = sqlx::query(
        "INSERT INTO sessions (scope, id, user_id, metadata, created_at, expires_at, fixed)
         VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (scope, id) DO NOTHING",
    )
    .bind(place.scope)
    .bind(&session.id)
    .bind(&session.user_id)
    .bind(rows::text(session.metadata.as_ref()))
    .bind(session.created_at.0)
    .bind(session.expires_at.0)
    .bind(session.fixed)
    .execute(&mut *ledger.connection)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// See [`crate::store::Store::say`].
pub(super) struct Say {
    pub(super) scope: Scope,
    pub(super) message: Draft,
    pub(super) open_end: Moment,
}

impl Write for Say {
    type Written = Said;

    async fn apply(&self, ledger: &mut Ledger<'_>) -> Outcome<Said> {
        let entry = &self.message.entry;
        debug_assert_eq!(entry.kind(), Kind::Message);
        let mut place = ledger.open(&self.scope).await?;
        let beginning = Session {
            id: entry.session_id.clone().unwrap_or_default(),
            user_id: entry.speaker.as_ref().and_then(|speaker| speaker.user_id.clone()),
            metadata: None,
            created_at: entry.created_at,
            expires_at: self.open_end,
            fixed: false,
        };
        // A message that was stored under this key before is answered with what it did then.
        let known = match same_key(ledger, place, &self.message).await? {
            Ok(known) => known,
            Err(error) => return Ok(Err(error)),
        };
        let begun = begin(ledger, place, &beginning).await?;
        let row = sqlx::query("SELECT * FROM sessions WHERE scope = ? AND id = ?")
            .bind(place.scope)
            .bind(&beginning.id)
            .fetch_one(&mut *ledger.connection)
            .await?;
        let mut session = rows::session(&row)?;
        if let Some(inserted) = known {
            return Ok(Ok(Said { session, begun, inserted }));
        }
        if session.fixed && session.ended(entry.created_at) {
            return Ok(Err(StoreError::SessionEnded { id: session.id, at: session.expires_at }));
        }
        if !session.fixed && session.expires_at < self.open_end {
            sqlx::query("UPDATE sessions SET expires_at = ? WHERE scope = ? AND id = ?")
                .bind(self.open_end.0)
                .bind(place.scope)
                .bind(&session.id)
                .execute(&mut *ledger.connection)
                .await?;
            session.expires_at = self.open_end;
        }
        let inserted = put(ledger, &mut place, &self.message).await?;
        ledger.note(&self.scope, place);
        Ok(Ok(Said { session, begun, inserted }))
    }
}
