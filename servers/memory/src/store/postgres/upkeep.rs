//! The statements of upkeep: derived data, putting away and bringing back, taking in a backup.

use super::locks;
use super::rows;
use super::text::kept;
use super::turn::{Turn, Write};
use super::writes::{self, New, Outcome};
use crate::model::{Archival, Draft, Session};
use crate::moment::Moment;
use crate::store::{Onto, PORTION, StoreError, Vector};
use std::collections::HashSet;

/// See [`crate::store::Store::keep_analyses`].
pub(super) struct KeepAnalyses {
    pub(super) analyses: Vec<(u64, u64, Vec<u8>)>,
}

impl Write for KeepAnalyses {
    type Written = ();
    const OPENS: bool = false;

    fn nothing() -> Self::Written {}

    async fn apply(&self, turn: &mut Turn<'_>) -> Outcome<()> {
        let column = |of: fn(&(u64, u64, Vec<u8>)) -> u64| {
            self.analyses.iter().map(|analysis| of(analysis).cast_signed()).collect::<Vec<i64>>()
        };
        sqlx::query(
            "UPDATE mcp_memory.entries AS e SET analysis = made.analysis
             FROM unnest($2::bigint[], $3::bigint[], $4::bytea[]) AS made (number, version, analysis)
             WHERE e.number = made.number AND e.version = made.version AND e.scope = $1",
        )
        .bind(turn.scope)
        .bind(column(|(number, _, _)| *number))
        .bind(column(|(_, version, _)| *version))
        .bind(self.analyses.iter().map(|(_, _, analysis)| analysis.clone()).collect::<Vec<Vec<u8>>>())
        .execute(&mut *turn.transaction)
        .await?;
        Ok(Ok(()))
    }
}

/// See [`crate::store::Store::keep_vectors`].
pub(super) struct KeepVectors {
    pub(super) model: String,
    pub(super) vectors: Vec<Vector>,
}

impl Write for KeepVectors {
    type Written = ();
    const OPENS: bool = false;

    fn nothing() -> Self::Written {}

    async fn apply(&self, turn: &mut Turn<'_>) -> Outcome<()> {
        for vector in &self.vectors {
            let moved = sqlx::query(
                "UPDATE mcp_memory.entries SET version = $4
                 WHERE number = $1 AND scope = $2 AND version = $3 AND archived_at IS NULL",
            )
            .bind(vector.number.cast_signed())
            .bind(turn.scope)
            .bind(vector.version.cast_signed())
            .bind(turn.version + 1)
            .execute(&mut *turn.transaction)
            .await?;
            if moved.rows_affected() == 0 {
                continue;
            }
            turn.next_version();
            sqlx::query(
                "INSERT INTO mcp_memory.vectors (number, scope, model, vector) VALUES ($1, $2, $3, $4::text::vector)
                 ON CONFLICT (number) DO UPDATE SET model = excluded.model, vector = excluded.vector, told = false",
            )
            .bind(vector.number.cast_signed())
            .bind(turn.scope)
            .bind(kept(&self.model))
            .bind(rows::vector(&vector.values))
            .execute(&mut *turn.transaction)
            .await?;
        }
        Ok(Ok(()))
    }
}

/// See [`crate::store::Store::archive`].
pub(super) struct Archive {
    pub(super) run_id: String,
    pub(super) at: Moment,
    pub(super) archivals: Vec<Archival>,
}

impl Write for Archive {
    type Written = u64;
    const OPENS: bool = false;

    fn nothing() -> Self::Written {
        0
    }

    async fn apply(&self, turn: &mut Turn<'_>) -> Outcome<u64> {
        let mut count = 0;
        for archival in &self.archivals {
            let survivor = archival.merged_into.as_ref();
            let archived = sqlx::query(
                "UPDATE mcp_memory.entries SET version = $4, archived_at = $5, archived_by = $6, merged_into = $7
                 WHERE number = $1 AND scope = $2 AND version = $3 AND archived_at IS NULL AND ($8::bigint IS NULL OR EXISTS
                     (SELECT FROM mcp_memory.entries AS s
                      WHERE s.number = $8 AND s.scope = $2 AND s.version = $9 AND s.archived_at IS NULL))",
            )
            .bind(archival.number.cast_signed())
            .bind(turn.scope)
            .bind(archival.version.cast_signed())
            .bind(turn.version + 1)
            .bind(self.at.0)
            .bind(kept(&self.run_id))
            .bind(survivor.map(|survivor| kept(&survivor.id)))
            .bind(survivor.map(|survivor| survivor.number.cast_signed()))
            .bind(survivor.map(|survivor| survivor.version.cast_signed()))
            .execute(&mut *turn.transaction)
            .await?;
            if archived.rows_affected() == 1 {
                turn.next_version();
                count += 1;
            }
        }
        turn.written(self.at);
        Ok(Ok(count))
    }
}

/// The first of what an optimisation, or all of them, put away.
async fn archived(turn: &mut Turn<'_>, run_id: Option<&str>) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT number FROM mcp_memory.entries
         WHERE scope = $1 AND archived_at IS NOT NULL AND ($2::text IS NULL OR archived_by = $2) LIMIT $3",
    )
    .bind(turn.scope)
    .bind(run_id.map(kept))
    .bind(i64::from(PORTION))
    .fetch_all(&mut *turn.transaction)
    .await
}

/// See [`crate::store::Store::unarchive`].
pub(super) struct Unarchive {
    pub(super) run_id: Option<String>,
}

impl Write for Unarchive {
    type Written = u64;
    const OPENS: bool = false;

    fn nothing() -> Self::Written {
        0
    }

    async fn apply(&self, turn: &mut Turn<'_>) -> Outcome<u64> {
        let numbers = archived(turn, self.run_id.as_deref()).await?;
        let versions: Vec<i64> = numbers.iter().map(|_| turn.next_version()).collect();
        sqlx::query(
            "UPDATE mcp_memory.entries AS e
             SET version = back.version, archived_at = NULL, archived_by = NULL, merged_into = NULL
             FROM unnest($1::bigint[], $2::bigint[]) AS back (number, version)
             WHERE e.number = back.number AND e.scope = $3",
        )
        .bind(&numbers)
        .bind(&versions)
        .bind(turn.scope)
        .execute(&mut *turn.transaction)
        .await?;
        Ok(Ok(numbers.len() as u64))
    }
}

/// See [`crate::store::Store::purge`].
pub(super) struct Purge {
    pub(super) run_id: Option<String>,
}

impl Write for Purge {
    type Written = u64;
    const OPENS: bool = false;

    fn nothing() -> Self::Written {
        0
    }

    async fn apply(&self, turn: &mut Turn<'_>) -> Outcome<u64> {
        let numbers = archived(turn, self.run_id.as_deref()).await?;
        turn.delete(&numbers).await?;
        Ok(Ok(numbers.len() as u64))
    }
}

/// See [`crate::store::Store::import`].
pub(super) struct Import {
    pub(super) sessions: Vec<Session>,
    pub(super) drafts: Vec<Draft>,
    pub(super) onto: Onto,
}

impl Write for Import {
    type Written = (u64, u64);
    const OPENS: bool = true;

    fn nothing() -> Self::Written {
        (0, 0)
    }

    async fn apply(&self, turn: &mut Turn<'_>) -> Outcome<(u64, u64)> {
        if self.onto == Onto::Nothing && holds_something(turn).await? {
            return Ok(Err(StoreError::NotEmpty));
        }
        let mut sessions = 0;
        for session in &self.sessions {
            sessions += u64::from(writes::begin(turn, session).await?);
        }
        let ids = self.drafts.iter().map(|draft| kept(&draft.entry.id).into_owned());
        let mut ids =
            present(turn, "SELECT id FROM mcp_memory.entries WHERE scope = $1 AND id = ANY($2)", ids).await?;
        let key = |draft: &Draft| Some(kept(&draft.idempotency_key.as_ref()?.name).into_owned());
        let keys = self.drafts.iter().filter_map(key);
        let by_key =
            "SELECT idempotency_key FROM mcp_memory.entries WHERE scope = $1 AND idempotency_key = ANY($2)";
        let mut keys = present(turn, by_key, keys).await?;
        let mut new = Vec::new();
        for draft in &self.drafts {
            if !ids.insert(kept(&draft.entry.id).into_owned()) {
                continue;
            }
            let keeps_key = key(draft).is_some_and(|key| keys.insert(key));
            new.push(New { number: turn.next_number(), version: turn.next_version(), draft, keeps_key });
        }
        writes::put(turn, &new).await?;
        if let (Some(first), Some(last)) = (new.first(), new.last()) {
            // A backup that was made while a session began may lack it.
            sqlx::query(
                "INSERT INTO mcp_memory.sessions (scope, id, user_id, created_at, expires_at, fixed)
                 SELECT scope, session_id, min(user_id), min(created_at), max(created_at), false
                 FROM mcp_memory.entries WHERE number BETWEEN $1 AND $2 AND role IS NOT NULL AND session_id IS NOT NULL
                 GROUP BY scope, session_id ON CONFLICT (scope, id) DO NOTHING",
            )
            .bind(first.number)
            .bind(last.number)
            .execute(&mut *turn.transaction)
            .await?;
        }
        Ok(Ok((new.len() as u64, sessions)))
    }
}

/// Whether anything is stored, in whichever scope. Whoever asks does so one after the other, so that of two restores the
/// later one sees what the earlier one has begun.
async fn holds_something(turn: &mut Turn<'_>) -> Result<bool, sqlx::Error> {
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(locks::RESTORE)
        .execute(&mut *turn.transaction)
        .await?;
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM mcp_memory.entries) OR EXISTS (SELECT 1 FROM mcp_memory.sessions)",
    )
    .fetch_one(&mut *turn.transaction)
    .await
}

/// Which of these are there already.
async fn present(
    turn: &mut Turn<'_>,
    statement: &'static str,
    texts: impl Iterator<Item = String>,
) -> Result<HashSet<String>, sqlx::Error> {
    let texts: Vec<String> = texts.collect();
    let found: Vec<String> =
        sqlx::query_scalar(statement).bind(turn.scope).bind(&texts).fetch_all(&mut *turn.transaction).await?;
    Ok(found.into_iter().collect())
}
