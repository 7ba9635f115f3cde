//! The connections that read.
//!
//! The pool asks each whether it still answers before it takes it back: a second trip to the connection's thread, by a task
//! of its own, for every read. So a few whose answer has just come stay at hand. Any other goes back to the pool, since a read
//! that nobody waits for any more may keep its connection at work.

use crate::store::StoreError;
use sqlx::pool::PoolConnection;
use sqlx::{Sqlite, SqlitePool};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Connections that stay at hand: as many as read at a time when nothing waits for the disk.
const AT_HAND: usize = 4;

/// The connections that read.
#[derive(Debug)]
pub(super) struct Readers {
    pool: SqlitePool,
    at_hand: Mutex<Vec<PoolConnection<Sqlite>>>,
}

impl Readers {
    pub(super) const fn of(pool: SqlitePool) -> Self {
        Self { pool, at_hand: Mutex::new(Vec::new()) }
    }

    /// The most connections that there are.
    fn most(&self) -> u32 {
        self.pool.options().get_max_connections()
    }

    /// A connection, once there is one. Dropped, it goes back to the pool.
    pub(super) async fn acquire(&self) -> Result<PoolConnection<Sqlite>, StoreError> {
        let at_hand = self.at_hand().pop();
        if let Some(connection) = at_hand {
            return Ok(connection);
        }
        self.pool.acquire().await.map_err(|error| match error {
            sqlx::Error::PoolTimedOut => StoreError::Busy { connections: self.most() },
            error => error.into(),
        })
    }

    /// Takes a connection back that has answered all that it was asked.
    pub(super) fn keep(&self, connection: PoolConnection<Sqlite>) {
        let mut at_hand = self.at_hand();
        // Where all are in use, somebody may wait for this one; and whoever closes the pool waits for all.
        let all_in_use = self.pool.size() >= self.most() && self.pool.num_idle() == 0;
        if !all_in_use && !self.pool.is_closed() && at_hand.len() < AT_HAND {
            at_hand.push(connection);
        }
    }

    /// Waits for those that are in use, and closes all.
    pub(super) async fn close(&self) {
        let closing = self.pool.close();
        self.at_hand().clear();
        closing.await;
    }

    fn at_hand(&self) -> MutexGuard<'_, Vec<PoolConnection<Sqlite>>> {
        self.at_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::sqlite::SqlitePoolOptions;

    fn readers(most: u32) -> Readers {
        let pool = SqlitePoolOptions::new().max_connections(most);
        Readers::of(pool.connect_lazy("sqlite::memory:").expect("options"))
    }

    #[tokio::test]
    async fn what_has_answered_stays_at_hand_and_is_used_again() {
        let readers = readers(10);
        let connection = readers.acquire().await.expect("a connection");
        readers.keep(connection);
        assert_eq!((readers.at_hand().len(), readers.pool.size()), (1, 1));
        let connection = readers.acquire().await.expect("that at hand");
        assert_eq!((readers.at_hand().len(), readers.pool.size()), (0, 1));
        drop(connection);
        assert_eq!(readers.at_hand().len(), 0, "it may be at work still");
    }

    #[tokio::test]
    async fn where_all_are_in_use_whoever_waits_gets_it() {
        let readers = readers(2);
        let one = readers.acquire().await.expect("one");
        let other = readers.acquire().await.expect("the last");
        let (third, ()) = tokio::join!(readers.acquire(), async { readers.keep(one) });
        assert_eq!(readers.at_hand().len(), 0);
        drop(third.expect("that which was given back"));
        while readers.pool.num_idle() != 1 {
            tokio::task::yield_now().await;
        }
        readers.keep(other);
        assert_eq!(readers.at_hand().len(), 1, "nobody can wait for it");
    }

    #[tokio::test]
    async fn closing_waits_for_none_at_hand() {
        let readers = readers(10);
        let (kept, used) = (readers.acquire().await.expect("one"), readers.acquire().await.expect("another"));
        readers.keep(kept);
        // Given back while it closes, it is not kept.
        let (closed, ()) = tokio::join!(readers.close(), async { readers.keep(used) });
        assert_eq!((closed, readers.at_hand().len()), ((), 0));
        assert!(readers.acquire().await.is_err());
    }
}
