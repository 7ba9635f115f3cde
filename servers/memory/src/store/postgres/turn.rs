//! One transaction: a scope's turn to be written to.
//!
//! Its first statement takes the lock of the scope's row, so that versions and numbers are given in the order of the
//! commits, without gaps, whichever replica writes.

use super::bounds;
use crate::model::Scope;
use crate::moment::Moment;
use crate::store::postgres::life::LIFE;
use crate::store::postgres::text;
use crate::store::{REMEMBERED_CHANGES, StoreError};
use sqlx::{PgConnection, Postgres, Row, Transaction};

/// Bits of an entry's number that count within its scope.
const BITS: u32 = 40;

/// Something that is written in a turn.
pub(super) trait Write {
    /// What it answers.
    type Written;

    /// Whether a scope that does not exist is made.
    const OPENS: bool;

    /// The answer for a scope that does not exist.
    fn nothing() -> Self::Written;

    /// Does it. What it refuses leaves nothing behind.
    fn apply(
        &self,
        turn: &mut Turn<'_>,
    ) -> impl Future<Output = Result<Result<Self::Written, StoreError>, sqlx::Error>> + Send;
}

/// A transaction that holds its scope.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub(super) transaction: Transaction<'a, Postgres>,
    /// The scope's own number.
    pub(super) scope: i64,
    /// How many changes it has seen.
    pub(super) version: i64,
    /// How many numbers it has given.
    last: i64,
    written_at: i64,
    began_at: (i64, i64),
}

impl<'a> Turn<'a> {
    /// Waits for the scope's turn; `None` when it does not exist and is not to be made.
    pub(super) async fn begin(
        connection: &'a mut PgConnection,
        scope: &Scope,
        open: bool,
    ) -> Result<Option<Self>, sqlx::Error> {
        let mut transaction = bounds::begin(connection, "").await?;
        let (tenant, agent_id) = (text::kept(&scope.tenant), text::kept(&scope.agent_id));
        let lock = "SELECT number, version, last, written_at FROM mcp_memory.scopes
             WHERE tenant = $1 AND agent_id = $2 FOR UPDATE";
        let make = "INSERT INTO mcp_memory.scopes (tenant, agent_id) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        let mut row =
            sqlx::query(lock).bind(&tenant).bind(&agent_id).fetch_optional(&mut *transaction).await?;
        if row.is_none() && open {
            sqlx::query(make).bind(&tenant).bind(&agent_id).execute(&mut *transaction).await?;
            row = sqlx::query(lock).bind(&tenant).bind(&agent_id).fetch_optional(&mut *transaction).await?;
        }
        let Some(row) = row else { return Ok(None) };
        let (version, written_at) = (row.try_get("version")?, row.try_get("written_at")?);
        let (scope, last) = (row.try_get("number")?, row.try_get("last")?);
        Ok(Some(Self { transaction, scope, version, last, written_at, began_at: (version, last) }))
    }

    /// The next number of an entry.
    pub(super) fn next_number(&mut self) -> i64 {
        self.last += 1;
        (self.scope << BITS) + self.last
    }

    /// The next version.
    pub(super) fn next_version(&mut self) -> i64 {
        self.version += 1;
        self.version
    }

    /// Notes when the scope was written to.
    pub(super) fn written(&mut self, at: Moment) {
        self.written_at = self.written_at.max(at.0);
    }

    /// Deletes entries for good, and remembers that they are gone.
    pub(super) async fn delete(&mut self, numbers: &[i64]) -> Result<(), sqlx::Error> {
        if numbers.is_empty() {
            return Ok(());
        }
        let versions: Vec<i64> = numbers.iter().map(|_| self.next_version()).collect();
        sqlx::query("DELETE FROM mcp_memory.entries WHERE number = ANY($1) AND scope = $2")
            .bind(numbers)
            .bind(self.scope)
            .execute(&mut *self.transaction)
            .await?;
        sqlx::query(
            "INSERT INTO mcp_memory.tombstones (scope, version, number)
             SELECT $1, version, number FROM unnest($2::bigint[], $3::bigint[]) AS gone (version, number)",
        )
        .bind(self.scope)
        .bind(&versions)
        .bind(numbers)
        .execute(&mut *self.transaction)
        .await?;
        sqlx::query("DELETE FROM mcp_memory.tombstones WHERE scope = $1 AND version < $2")
            .bind(self.scope)
            .bind(self.version - REMEMBERED_CHANGES.cast_signed())
            .execute(&mut *self.transaction)
            .await?;
        Ok(())
    }

    /// Writes where the scope stands. What is left is to commit the transaction, which the database knows later by
    /// its number, as long as it has the same [`LIFE`], since what a crash has lost loses its transaction's number too,
    /// which is given again; one that has changed nothing has no number.
    pub(super) async fn close(
        mut self,
    ) -> Result<(Transaction<'a, Postgres>, Option<String>, String), sqlx::Error> {
        if self.began_at != (self.version, self.last) {
            sqlx::query(
                "UPDATE mcp_memory.scopes SET version = $2, last = $3, written_at = $4 WHERE number = $1",
            )
            .bind(self.scope)
            .bind(self.version)
            .bind(self.last)
            .bind(self.written_at)
            .execute(&mut *self.transaction)
            .await?;
        }
        let mark = format!("SELECT pg_current_xact_id_if_assigned()::text, {LIFE}");
        let (id, life) = sqlx::query_as(sqlx::AssertSqlSafe(mark)).fetch_one(&mut *self.transaction).await?;
        Ok((self.transaction, id, life))
    }

    /// Leaves nothing behind.
    pub(super) async fn give_up(self) -> Result<(), sqlx::Error> {
        self.transaction.rollback().await
    }
}

/// The numbers between which those of a scope's entries lie, the first not among them.
pub(super) const fn range(scope: i64) -> (i64, i64) {
    (scope << BITS, ((scope + 1) << BITS) - 1)
}
