//! One transaction: the scopes that it touches, and the versions and numbers that it gives.

use super::places::{self, Place, Places};
use crate::model::Scope;
use crate::moment::Moment;
use crate::store::REMEMBERED_CHANGES;
use sqlx::{AssertSqlSafe, SqliteConnection};
use std::collections::HashMap;

/// A transaction under way. Dropped without [`Ledger::commit`], it leaves nothing behind in memory; the connection must be
/// closed then, which takes it back in the file.
pub(super) struct Ledger<'a> {
    pub(super) connection: &'a mut SqliteConnection,
    places: &'a Places,
    touched: HashMap<Scope, Place>,
}

impl<'a> Ledger<'a> {
    /// Begins one. `SQLite`'s own statements are used and not sqlx's transactions: these commit in a step of its own.
    pub(super) async fn begin(
        connection: &'a mut SqliteConnection,
        places: &'a Places,
    ) -> Result<Self, sqlx::Error> {
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
        Ok(Self { connection, places, touched: HashMap::new() })
    }

    /// Where a scope stands within this transaction; `None` when nothing was ever stored in it.
    pub(super) async fn find(&mut self, scope: &Scope) -> Result<Option<Place>, sqlx::Error> {
        if let Some(place) = self.touched.get(scope) {
            return Ok(Some(*place));
        }
        if let Some(place) = self.places.peek(scope) {
            return Ok(Some(place));
        }
        places::read(&mut *self.connection, scope).await
    }

    /// Where a scope stands; it is made if need be.
    pub(super) async fn open(&mut self, scope: &Scope) -> Result<Place, sqlx::Error> {
        if let Some(place) = self.find(scope).await? {
            return Ok(place);
        }
        let number: i64 =
            sqlx::query_scalar("INSERT INTO scopes (tenant, agent_id) VALUES (?, ?) RETURNING number")
                .bind(&*scope.tenant)
                .bind(&*scope.agent_id)
                .fetch_one(&mut *self.connection)
                .await?;
        let mut place = Place { scope: number, version: 0, last: 0, written_at: 0 };
        place.last = place.floor();
        self.touched.insert(scope.clone(), place);
        Ok(place)
    }

    /// Notes where a scope stands now.
    pub(super) fn note(&mut self, scope: &Scope, place: Place) {
        self.touched.insert(scope.clone(), place);
    }

    /// Deletes an entry and remembers that it is gone. The place moves on by one version.
    pub(super) async fn delete(&mut self, place: &mut Place, number: i64) -> Result<(), sqlx::Error> {
        place.version += 1;
        sqlx::query("DELETE FROM entries WHERE number = ? AND scope = ?")
            .bind(number)
            .bind(place.scope)
            .execute(&mut *self.connection)
            .await?;
        sqlx::query("INSERT INTO tombstones (scope, version, number) VALUES (?, ?, ?)")
            .bind(place.scope)
            .bind(place.version)
            .bind(number)
            .execute(&mut *self.connection)
            .await?;
        sqlx::query("DELETE FROM tombstones WHERE scope = ? AND version < ?")
            .bind(place.scope)
            .bind(place.version - REMEMBERED_CHANGES.cast_signed())
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }

    /// Writes where the scopes stand and commits, both at once; tells it for the time after.
    pub(super) async fn commit(self) -> Result<HashMap<Scope, Place>, sqlx::Error> {
        const STAND: &str = "UPDATE scopes SET version = ?, last = ?, written_at = ? WHERE number = ?;";
        let statements = STAND.repeat(self.touched.len()) + "COMMIT";
        // Nothing but the number of scopes makes the text.
        let mut query = sqlx::query(AssertSqlSafe(statements)).persistent(self.touched.len() < 2);
        for place in self.touched.values() {
            query = query.bind(place.version).bind(place.last).bind(place.written_at).bind(place.scope);
        }
        query.execute(&mut *self.connection).await?;
        Ok(self.touched)
    }
}

impl Place {
    /// Notes when the scope was written to.
    pub(super) fn written(&mut self, at: Moment) {
        self.written_at = self.written_at.max(at.0);
    }
}
