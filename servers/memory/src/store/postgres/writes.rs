//! The statements that change entries and sessions. Each runs in a turn of its scope.

use super::rows;
use super::text::kept;
use super::turn::{Turn, Write};
use crate::model::{ContentHash, Draft, Inserted, Key, Kind, Said, Session, ambiguous_key};
use crate::moment::Moment;
use crate::store::StoreError;
use sqlx::Row;
use sqlx::postgres::PgRow;
use std::collections::{BTreeMap, HashMap};

pub(super) type Outcome<T> = Result<Result<T, StoreError>, sqlx::Error>;

/// See [`crate::store::Store::insert`].
pub(super) struct Insert {
    pub(super) drafts: Vec<Draft>,
}

impl Write for Insert {
    type Written = Vec<Inserted>;
    const OPENS: bool = true;

    fn nothing() -> Self::Written {
        Vec::new()
    }

    async fn apply(&self, turn: &mut Turn<'_>) -> Outcome<Vec<Inserted>> {
        if let Some(key) = ambiguous_key(&self.drafts) {
            return Ok(Err(StoreError::KeyReused { key: key.to_owned() }));
        }
        let mut by_key = match same_keys(turn, &self.drafts).await? {
            Ok(found) => found,
            Err(error) => return Ok(Err(error)),
        };
        let mut by_hash = same_contents(turn, &self.drafts).await?;
        let mut inserted = Vec::with_capacity(self.drafts.len());
        let (mut new, mut keeping) = (Vec::new(), BTreeMap::new());
        for draft in &self.drafts {
            let same_key = draft.idempotency_key.as_ref().and_then(|key| by_key.get(&key.name));
            if let Some(known) = same_key.or_else(|| by_hash.get(&draft.hash()?)) {
                if let (None, Some(key)) = (same_key, &draft.idempotency_key) {
                    keeping.entry(known.number.cast_signed()).or_insert(key);
                }
                inserted.push(Inserted { duplicate: true, ..known.clone() });
                continue;
            }
            let (number, version) = (turn.next_number(), turn.next_version());
            let is_new = Inserted::new(&draft.entry, number, version);
            if let Some(hash) = draft.hash() {
                by_hash.insert(hash, is_new.clone());
            }
            if let Some(key) = &draft.idempotency_key {
                by_key.insert(key.name.clone(), is_new.clone());
            }
            new.push(New { number, version, draft, keeps_key: true });
            inserted.push(is_new);
        }
        put(turn, &new).await?;
        keep_keys(turn, &keeping).await?;
        Ok(Ok(inserted))
    }
}

/// The entries that were stored with the drafts' idempotency keys, by these.
async fn same_keys(turn: &mut Turn<'_>, drafts: &[Draft]) -> Outcome<HashMap<String, Inserted>> {
    let uses: HashMap<&str, &Draft> = drafts
        .iter()
        .filter_map(|draft| Some((draft.idempotency_key.as_ref()?.name.as_str(), draft)))
        .collect();
    if uses.is_empty() {
        return Ok(Ok(HashMap::new()));
    }
    let rows = sqlx::query(
        "SELECT id, memory_type, importance, number, version, created_at, updated_at, content, role, session_id,
             idempotency_key, key_hash
         FROM mcp_memory.entries WHERE scope = $1 AND idempotency_key = ANY($2)",
    )
    .bind(turn.scope)
    .bind(uses.keys().map(|name| kept(name).into_owned()).collect::<Vec<String>>())
    .fetch_all(&mut *turn.transaction)
    .await?;
    let mut found = HashMap::new();
    for row in &rows {
        let inserted = there(row)?;
        let Some(Key { name, mut used_for }) = rows::key(row)? else { continue };
        if used_for.is_none() && inserted.created_at == rows::moment(row, "updated_at")? {
            used_for = Some(ContentHash::of(&rows::required(row, "content")?));
        }
        let (role, session_id) =
            (row.try_get::<Option<&str>, _>("role")?, rows::optional(row, "session_id")?);
        let is_another = uses.get(name.as_str()).is_some_and(|draft| {
            let other_content = |key: &Key| used_for.is_some() && key.used_for != used_for;
            draft.idempotency_key.as_ref().is_some_and(other_content)
                || !draft.may_have_made(role, session_id.as_deref())
        });
        if is_another {
            return Ok(Err(StoreError::KeyReused { key: name }));
        }
        found.insert(name, inserted);
    }
    Ok(Ok(found))
}

/// The entries that hold the drafts' contents.
async fn same_contents(
    turn: &mut Turn<'_>,
    drafts: &[Draft],
) -> Result<HashMap<ContentHash, Inserted>, sqlx::Error> {
    let hashes: Vec<Vec<u8>> = drafts.iter().filter_map(|draft| Some(draft.hash()?.0.to_vec())).collect();
    if hashes.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query(
        "SELECT id, memory_type, importance, number, version, created_at, hash FROM mcp_memory.entries
         WHERE scope = $1 AND hash = ANY($2) AND archived_at IS NULL ORDER BY number DESC",
    )
    .bind(turn.scope)
    .bind(&hashes)
    .fetch_all(&mut *turn.transaction)
    .await?;
    // Of several, the oldest stands last and stays.
    rows.iter()
        .filter_map(|row| match row.try_get::<&[u8], _>("hash").map(<[u8; 16]>::try_from) {
            Ok(Ok(hash)) => Some(there(row).map(|inserted| (ContentHash(hash), inserted))),
            Ok(Err(_)) => None,
            Err(error) => Some(Err(error)),
        })
        .collect()
}

fn there(row: &PgRow) -> Result<Inserted, sqlx::Error> {
    Ok(Inserted {
        id: rows::required(row, "id")?,
        memory_type: rows::required(row, "memory_type")?,
        importance: row.try_get("importance")?,
        created_at: rows::moment(row, "created_at")?,
        number: rows::unsigned(row, "number")?,
        version: rows::unsigned(row, "version")?,
        duplicate: true,
    })
}

/// Has entries, by their numbers, that hold a draft's content keep its key too, where they have none: a repetition of that store is
/// recognised whatever becomes of the entry.
async fn keep_keys(turn: &mut Turn<'_>, keys: &BTreeMap<i64, &Key>) -> Result<(), sqlx::Error> {
    if keys.is_empty() {
        return Ok(());
    }
    let hashes = keys.values().map(|key| key.used_for.map(|hash| hash.0.to_vec()));
    sqlx::query(
        "UPDATE mcp_memory.entries AS e SET idempotency_key = kept.key, key_hash = kept.hash
         FROM unnest($2::bigint[], $3::text[], $4::bytea[]) AS kept (number, key, hash)
         WHERE e.number = kept.number AND e.scope = $1 AND e.idempotency_key IS NULL",
    )
    .bind(turn.scope)
    .bind(keys.keys().copied().collect::<Vec<i64>>())
    .bind(keys.values().map(|key| kept(&key.name).into_owned()).collect::<Vec<String>>())
    .bind(hashes.collect::<Vec<Option<Vec<u8>>>>())
    .execute(&mut *turn.transaction)
    .await?;
    Ok(())
}

/// An entry that is to be written.
pub(super) struct New<'a> {
    pub(super) number: i64,
    pub(super) version: i64,
    pub(super) draft: &'a Draft,
    /// Whether its idempotency key is written with it.
    pub(super) keeps_key: bool,
}

impl New<'_> {
    fn key(&self) -> Option<&Key> {
        self.draft.idempotency_key.as_ref().filter(|_| self.keeps_key)
    }
}

/// Writes all of them with one statement.
pub(super) async fn put(turn: &mut Turn<'_>, new: &[New<'_>]) -> Result<(), sqlx::Error> {
    if new.is_empty() {
        return Ok(());
    }
    if let Some(at) = new.iter().map(|new| new.draft.entry.created_at).max() {
        turn.written(at);
    }
    let text = |of: fn(&Draft) -> &String| {
        new.iter().map(|new| kept(of(new.draft)).into_owned()).collect::<Vec<String>>()
    };
    let optional = |of: fn(&Draft) -> Option<&String>| {
        new.iter()
            .map(|new| of(new.draft).map(|text| kept(text).into_owned()))
            .collect::<Vec<Option<String>>>()
    };
    let number = |of: fn(&Draft) -> i64| new.iter().map(|new| of(new.draft)).collect::<Vec<i64>>();
    let keys = new.iter().map(|new| new.key().map(|key| kept(&key.name).into_owned()));
    let keys_used_for = new.iter().map(|new| Some(new.key()?.used_for?.0.to_vec()));
    sqlx::query(
        "INSERT INTO mcp_memory.entries (scope, number, version, id, role, user_id, session_id, memory_type, content,
             context, importance, created_at, updated_at, hash, idempotency_key, archived_at, archived_by, merged_into,
             analysis, key_hash)
         SELECT $1, * FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[],
             $8::text[], $9::text[], $10::text[], $11::double precision[], $12::bigint[], $13::bigint[], $14::bytea[],
             $15::text[], $16::bigint[], $17::text[], $18::text[], $19::bytea[], $20::bytea[])",
    )
    .bind(turn.scope)
    .bind(new.iter().map(|new| new.number).collect::<Vec<i64>>())
    .bind(new.iter().map(|new| new.version).collect::<Vec<i64>>())
    .bind(text(|draft| &draft.entry.id))
    .bind(
        new.iter()
            .map(|new| new.draft.entry.speaker.as_ref().map(|speaker| speaker.role.name().to_owned()))
            .collect::<Vec<Option<String>>>(),
    )
    .bind(optional(|draft| draft.entry.speaker.as_ref()?.user_id.as_ref()))
    .bind(optional(|draft| draft.entry.session_id.as_ref()))
    .bind(text(|draft| &draft.entry.memory_type))
    .bind(text(|draft| &draft.entry.content))
    .bind(new.iter().map(|new| rows::json(new.draft.entry.context.as_ref())).collect::<Vec<Option<String>>>())
    .bind(new.iter().map(|new| new.draft.entry.importance).collect::<Vec<f64>>())
    .bind(number(|draft| draft.entry.created_at.0))
    .bind(number(|draft| draft.entry.updated_at.0))
    .bind(new.iter().map(|new| new.draft.hash().map(|hash| hash.0.to_vec())).collect::<Vec<Option<Vec<u8>>>>())
    .bind(keys.collect::<Vec<Option<String>>>())
    .bind(
        new.iter()
            .map(|new| new.draft.entry.archived.as_ref().map(|archived| archived.at.0))
            .collect::<Vec<Option<i64>>>(),
    )
    .bind(optional(|draft| draft.entry.archived.as_ref().map(|archived| &archived.run_id)))
    .bind(optional(|draft| draft.entry.archived.as_ref()?.merged_into.as_ref()))
    .bind(new.iter().map(|new| new.draft.analysis.clone()).collect::<Vec<Vec<u8>>>())
    .bind(keys_used_for.collect::<Vec<Option<Vec<u8>>>>())
    .execute(&mut *turn.transaction)
    .await?;
    Ok(())
}

/// See [`crate::store::Store::replace`].
pub(super) struct Replace {
    pub(super) number: u64,
    pub(super) version: u64,
    pub(super) draft: Draft,
}

impl Write for Replace {
    type Written = Option<u64>;
    const OPENS: bool = false;

    fn nothing() -> Self::Written {
        None
    }

    async fn apply(&self, turn: &mut Turn<'_>) -> Outcome<Option<u64>> {
        let entry = &self.draft.entry;
        let replaced = sqlx::query(
            "UPDATE mcp_memory.entries SET version = $4, session_id = $5, memory_type = $6, content = $7, context = $8,
                 importance = $9, updated_at = $10, hash = $11, analysis = $12
             WHERE number = $1 AND scope = $2 AND version = $3 AND archived_at IS NULL",
        )
        .bind(self.number.cast_signed())
        .bind(turn.scope)
        .bind(self.version.cast_signed())
        .bind(turn.version + 1)
        .bind(entry.session_id.as_deref().map(kept))
        .bind(kept(&entry.memory_type))
        .bind(kept(&entry.content))
        .bind(rows::json(entry.context.as_ref()))
        .bind(entry.importance)
        .bind(entry.updated_at.0)
        .bind(self.draft.hash().map(|hash| hash.0.to_vec()))
        .bind(self.draft.analysis.as_slice())
        .execute(&mut *turn.transaction)
        .await?;
        if replaced.rows_affected() == 0 {
            return Ok(Ok(None));
        }
        let version = turn.next_version();
        turn.written(entry.updated_at);
        sqlx::query("DELETE FROM mcp_memory.vectors WHERE number = $1")
            .bind(self.number.cast_signed())
            .execute(&mut *turn.transaction)
            .await?;
        Ok(Ok(Some(version.cast_unsigned())))
    }
}

/// See [`crate::store::Store::delete`].
pub(super) struct Delete {
    pub(super) id: String,
}

impl Write for Delete {
    type Written = bool;
    const OPENS: bool = false;

    fn nothing() -> Self::Written {
        false
    }

    async fn apply(&self, turn: &mut Turn<'_>) -> Outcome<bool> {
        let number: Option<i64> =
            sqlx::query_scalar("SELECT number FROM mcp_memory.entries WHERE scope = $1 AND id = $2")
                .bind(turn.scope)
                .bind(kept(&self.id))
                .fetch_optional(&mut *turn.transaction)
                .await?;
        let Some(number) = number else { return Ok(Ok(false)) };
        turn.delete(&[number]).await?;
        Ok(Ok(true))
    }
}

/// See [`crate::store::Store::begin`].
pub(super) struct Begin {
    pub(super) session: Session,
}

impl Write for Begin {
    type Written = ();
    const OPENS: bool = true;

    fn nothing() -> Self::Written {}

    async fn apply(&self, turn: &mut Turn<'_>) -> Outcome<()> {
        begin(turn, &self.session).await?;
        Ok(Ok(()))
    }
}

/// Returns whether the session is new.
pub(super) async fn begin(turn: &mut Turn<'_>, session: &Session) -> Result<bool, sqlx::Error> {
    let inserted = sqlx::query(
        "INSERT INTO mcp_memory.sessions (scope, id, user_id, metadata, created_at, expires_at, fixed)
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (scope, id) DO NOTHING",
    )
    .bind(turn.scope)
    .bind(kept(&session.id))
    .bind(session.user_id.as_deref().map(kept))
    .bind(rows::json(session.metadata.as_ref()))
    .bind(session.created_at.0)
    .bind(session.expires_at.0)
    .bind(session.fixed)
    .execute(&mut *turn.transaction)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// See [`crate::store::Store::say`].
pub(super) struct Say {
    pub(super) message: Draft,
    pub(super) open_end: Moment,
}

impl Write for Say {
    type Written = Option<Said>;
    const OPENS: bool = true;

    fn nothing() -> Self::Written {
        None
    }

    async fn apply(&self, turn: &mut Turn<'_>) -> Outcome<Option<Said>> {
        let entry = &self.message.entry;
        debug_assert_eq!(entry.kind(), Kind::Message);
        let beginning = Session {
            id: entry.session_id.clone().unwrap_or_default(),
            user_id: entry.speaker.as_ref().and_then(|speaker| speaker.user_id.clone()),
            metadata: None,
            created_at: entry.created_at,
            expires_at: self.open_end,
            fixed: false,
        };
        // A message that was stored under this key before is answered with what it did then.
        let known = match same_keys(turn, std::slice::from_ref(&self.message)).await? {
            Ok(known) => known.into_values().next(),
            Err(error) => return Ok(Err(error)),
        };
        let begun = begin(turn, &beginning).await?;
        // By their names: another program may add columns while this one runs.
        let row = sqlx::query(
            "SELECT id, user_id, metadata, created_at, expires_at, fixed FROM mcp_memory.sessions
             WHERE scope = $1 AND id = $2",
        )
        .bind(turn.scope)
        .bind(kept(&beginning.id))
        .fetch_one(&mut *turn.transaction)
        .await?;
        let mut session = rows::session(&row)?;
        if let Some(inserted) = known {
            return Ok(Ok(Some(Said { session, begun, inserted })));
        }
        if session.fixed && session.ended(entry.created_at) {
            return Ok(Err(StoreError::SessionEnded { id: session.id, at: session.expires_at }));
        }
        if !session.fixed && session.expires_at < self.open_end {
            sqlx::query("UPDATE mcp_memory.sessions SET expires_at = $3 WHERE scope = $1 AND id = $2")
                .bind(turn.scope)
                .bind(kept(&session.id))
                .bind(self.open_end.0)
                .execute(&mut *turn.transaction)
                .await?;
            session.expires_at = self.open_end;
        }
        let (number, version) = (turn.next_number(), turn.next_version());
        put(turn, &[New { number, version, draft: &self.message, keeps_key: true }]).await?;
        let inserted = Inserted::new(entry, number, version);
        Ok(Ok(Some(Said { session, begun, inserted })))
    }
}
