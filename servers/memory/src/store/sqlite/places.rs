//! Where each scope stands: its number, its version, the last number that it gave.
//!
//! Only this process writes to the file, so what it knows is true, and asking for a version costs no query. A
//! place is published after the commit that made it and before the write is acknowledged.

use crate::model::Scope;
use lru::LruCache;
use sqlx::{Row, SqliteConnection};
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Scopes whose place is remembered; that of any other is read from the file.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");

/// Bits of an entry's number that count within its scope.
const BITS: u32 = 40;

/// Where a scope stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The scope's own number.
    pub(super) scope: i64,
    /// How many changes it has seen.
    pub(super) version: i64,
    /// The number of its last entry, or the one before its first.
    pub(super) last: i64,
    /// When it was last written to.
    pub(super) written_at: i64,
}

impl Place {
    /// The number before the first that an entry of this scope can have.
    pub(super) const fn floor(self) -> i64 {
        self.scope << BITS
    }

    /// The greatest number that an entry of this scope can have.
    pub(super) const fn ceiling(self) -> i64 {
        ((self.scope + 1) << BITS) - 1
    }

    /// The number after `number`, brought into this scope's range.
    pub(super) fn after(self, number: u64) -> i64 {
        i64::try_from(number).unwrap_or(i64::MAX).max(self.floor())
    }
}

/// The places that are known.
#[derive(Debug)]
pub(super) struct Places(Mutex<Known>);

#[derive(Debug)]
struct Known {
    places: LruCache<Scope, Place>,
    /// Counts what was published, so that a place that was read before is not taken for the present one.
    published: u64,
}

impl Default for Places {
    fn default() -> Self {
        Self(Mutex::new(Known { places: LruCache::new(REMEMBERED), published: 0 }))
    }
}

impl Places {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place that is known without asking the file.
    pub(super) fn peek(&self, scope: &Scope) -> Option<Place> {
        self.known().places.get(scope).copied()
    }

    /// Makes known where scopes stand after a commit.
    pub(super) fn publish(&self, places: impl IntoIterator<Item = (Scope, Place)>) {
        let mut known = self.known();
        known.published += 1;
        for (scope, place) in places {
            known.places.put(scope, place);
        }
    }

    /// Where a scope stands; `None` when nothing was ever stored in it.
    pub(super) async fn find(
        &self,
        connection: &mut SqliteConnection,
        scope: &Scope,
    ) -> Result<Option<Place>, sqlx::Error> {
        let published = {
            let mut known = self.known();
            if let Some(place) = known.places.get(scope) {
                return Ok(Some(*place));
            }
            known.published
        };
        let found = read(connection, scope).await?;
        let mut known = self.known();
        if let (Some(place), true) = (found, known.published == published) {
            known.places.put(scope.clone(), place);
        }
        Ok(found)
    }
}

/// Where a scope stands by the file.
pub(super) async fn read(
    connection: &mut SqliteConnection,
    scope: &Scope,
) -> Result<Option<Place>, sqlx::Error> {
    let row =
        sqlx::query("SELECT number, version, last, written_at FROM scopes WHERE tenant = ? AND agent_id = ?")
            .bind(&*scope.tenant)
            .bind(&*scope.agent_id)
            .fetch_optional(connection)
            .await?;
    row.map(|row| {
        let scope: i64 = row.try_get("number")?;
        let last: i64 = row.try_get("last")?;
        Ok(Place {
            scope,
            version: row.try_get("version")?,
            last: last.max(scope << BITS),
            written_at: row.try_get("written_at")?,
        })
    })
    .transpose()
}
