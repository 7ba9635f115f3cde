//! The statements of upkeep: derived data, putting away and bringing back, taking in a backup.

use super::ledger::Ledger;
use super::places::Place;
use super::rows;
use super::writer::Write;
use super::writes;
use crate::model::{Archival, Draft, Scope, Session};
use crate::moment::Moment;
use crate::store::{Onto, PORTION, StoreError, Vector};

type Outcome<T> = Result<Result<T, StoreError>, sqlx::Error>;

/// See [`crate::store::Store::keep_analyses`].
pub(super) struct KeepAnalyses {
    pub(super) scope: Scope,
    pub(super) analyses: Vec<(u64, u64, Vec<u8>)>,
}

impl Write for KeepAnalyses {
    type Written = ();

    async fn apply(&self, ledger: &mut Ledger<'_>) -> Outcome<()> {
        let Some(place) = ledger.find(&self.scope).await? else { return Ok(Ok(())) };
        for (number, version, analysis) in &self.analyses {
            sqlx::query("UPDATE entries SET analysis = ? WHERE number = ? AND scope = ? AND version = ?")
                .bind(analysis.as_slice())
                .bind(number.cast_signed())
                .bind(place.scope)
                .bind(version.cast_signed())
                .execute(&mut *ledger.connection)
                .await?;
        }
        Ok(Ok(()))
    }
}

/// See [`crate::store::Store::keep_vectors`].
pub(super) struct KeepVectors {
    pub(super) scope: Scope,
    pub(super) model: String,
    pub(super) vectors: Vec<Vector>,
}

impl Write for KeepVectors {
    type Written = ();

    async fn apply(&self, ledger: &mut Ledger<'_>) -> Outcome<()> {
        let Some(mut place) = ledger.find(&self.scope).await? else { return Ok(Ok(())) };
        for vector in &self.vectors {
            let moved = sqlx::query(
                "UPDATE entries SET version = ? WHERE number = ? AND scope = ? AND version = ? AND archived_at IS NULL",
            )
            .bind(place.version + 1)
            .bind(vector.number.cast_signed())
            .bind(place.scope)
            .bind(vector.version.cast_signed())
            .execute(&mut *ledger.connection)
            .await?;
            if moved.rows_affected() == 0 {
                continue;
            }
            place.version += 1;
            sqlx::query("INSERT OR REPLACE INTO vectors (number, model, vector) VALUES (?, ?, ?)")
                .bind(vector.number.cast_signed())
                .bind(&self.model)
                .bind(rows::bytes(&vector.values))
                .execute(&mut *ledger.connection)
                .await?;
        }
        ledger.note(&self.scope, place);
        Ok(Ok(()))
    }
}

/// See [`crate::store::Store::archive`].
pub(super) struct Archive {
    pub(super) scope: Scope,
    pub(super) run_id: String,
    pub(super) at: Moment,
    pub(super) archivals: Vec<Archival>,
}

impl Write for Archive {
    type Written = u64;

    async fn apply(&self, ledger: &mut Ledger<'_>) -> Outcome<u64> {
        let Some(mut place) = ledger.find(&self.scope).await? else { return Ok(Ok(0)) };
        let mut count = 0;
        for archival in &self.archivals {
            let survivor = archival.merged_into.as_ref();
            let archived = sqlx::query(
                "UPDATE entries SET version = ?1, archived_at = ?2, archived_by = ?3, merged_into = ?4
                 WHERE number = ?5 AND scope = ?6 AND version = ?7 AND archived_at IS NULL AND (?8 IS NULL OR EXISTS
                     (SELECT 1 FROM entries AS s
                      WHERE s.number = ?8 AND s.scope = ?6 AND s.version = ?9 AND s.archived_at IS NULL))",
            )
            .bind(place.version + 1)
            .bind(self.at.0)
            .bind(&self.run_id)
            .bind(survivor.map(|survivor| &survivor.id))
            .bind(archival.number.cast_signed())
            .bind(place.scope)
            .bind(archival.version.cast_signed())
            .bind(survivor.map(|survivor| survivor.number.cast_signed()))
            .bind(survivor.map(|survivor| survivor.version.cast_signed()))
            .execute(&mut *ledger.connection)
            .await?;
            place.version += archived.rows_affected().cast_signed();
            count += archived.rows_affected();
        }
        place.written(self.at);
        ledger.note(&self.scope, place);
        Ok(Ok(count))
    }
}

/// The first of what an optimisation, or all of them, put away.
async fn archived(
    ledger: &mut Ledger<'_>,
    place: Place,
    run_id: Option<&str>,
) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT number FROM entries WHERE scope = ?1 AND archived_at IS NOT NULL AND (?2 IS NULL OR archived_by = ?2)
         LIMIT +?3",
    )
    .bind(place.scope)
    .bind(run_id)
    .bind(PORTION)
    .fetch_all(&mut *ledger.connection)
    .await
}

/// See [`crate::store::Store::unarchive`].
pub(super) struct Unarchive {
    pub(super) scope: Scope,
    pub(super) run_id: Option<String>,
}

impl Write for Unarchive {
    type Written = u64;

    async fn apply(&self, ledger: &mut Ledger<'_>) -> Outcome<u64> {
        let Some(mut place) = ledger.find(&self.scope).await? else { return Ok(Ok(0)) };
        let numbers = archived(ledger, place, self.run_id.as_deref()).await?;
        for number in &numbers {
            place.version += 1;
            sqlx::query(
                "UPDATE entries SET version = ?, archived_at = NULL, archived_by = NULL, merged_into = NULL
                 WHERE number = ? AND scope = ?",
            )
            .bind(place.version)
            .bind(number)
            .bind(place.scope)
            .execute(&mut *ledger.connection)
            .await?;
        }
        ledger.note(&self.scope, place);
        Ok(Ok(numbers.len() as u64))
    }
}

/// See [`crate::store::Store::purge`].
pub(super) struct Purge {
    pub(super) scope: Scope,
    pub(super) run_id: Option<String>,
}

impl Write for Purge {
    type Written = u64;

    async fn apply(&self, ledger: &mut Ledger<'_>) -> Outcome<u64> {
        let Some(mut place) = ledger.find(&self.scope).await? else { return Ok(Ok(0)) };
        let numbers = archived(ledger, place, self.run_id.as_deref()).await?;
        for number in &numbers {
            ledger.delete(&mut place, *number).await?;
        }
        ledger.note(&self.scope, place);
        Ok(Ok(numbers.len() as u64))
    }
}

/// See [`crate::store::Store::import`].
pub(super) struct Import {
    pub(super) scope: Scope,
    pub(super) sessions: Vec<Session>,
    pub(super) drafts: Vec<Draft>,
    pub(super) onto: Onto,
}

impl Write for Import {
    type Written = (u64, u64);

    async fn apply(&self, ledger: &mut Ledger<'_>) -> Outcome<(u64, u64)> {
        if self.onto == Onto::Nothing && holds_something(ledger).await? {
            return Ok(Err(StoreError::NotEmpty));
        }
        let mut place = ledger.open(&self.scope).await?;
        let before = place.last;
        let (mut entries, mut sessions) = (0, 0);
        for session in &self.sessions {
            sessions += u64::from(writes::begin(ledger, place, session).await?);
        }
        for draft in &self.drafts {
            let is_there: bool =
                sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM entries WHERE scope = ? AND id = ?)")
                    .bind(place.scope)
                    .bind(&draft.entry.id)
                    .fetch_one(&mut *ledger.connection)
                    .await?;
            if is_there {
                continue;
            }
            let key_is_taken: bool = sqlx::query_scalar(
                "SELECT EXISTS (SELECT 1 FROM entries WHERE scope = ? AND idempotency_key = ?)",
            )
            .bind(place.scope)
            .bind(draft.idempotency_key.as_ref().map(|key| &key.name))
            .fetch_one(&mut *ledger.connection)
            .await?;
            if key_is_taken {
                let without = Draft { idempotency_key: None, ..draft.clone() };
                writes::put(ledger, &mut place, &without).await?;
            } else {
                writes::put(ledger, &mut place, draft).await?;
            }
            entries += 1;
        }
        // A backup that was made while a session began may lack it. (The plus keeps SQLite from the index of all sessions.)
        sqlx::query(
            "INSERT OR IGNORE INTO sessions (scope, id, user_id, created_at, expires_at, fixed)
             SELECT scope, session_id, min(user_id), min(created_at), max(created_at), 0 FROM entries
             WHERE number > ? AND number <= ? AND role IS NOT NULL GROUP BY +session_id",
        )
        .bind(before)
        .bind(place.last)
        .execute(&mut *ledger.connection)
        .await?;
        ledger.note(&self.scope, place);
        Ok(Ok((entries, sessions)))
    }
}

/// Whether anything is stored, in whichever scope.
async fn holds_something(ledger: &mut Ledger<'_>) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM entries) OR EXISTS (SELECT 1 FROM sessions)")
        .fetch_one(&mut *ledger.connection)
        .await
}
