//! Which life of which database server the connections belong to.
//!
//! A server that was restarted, or another one that took its place, may lack the end of what its predecessor had told:
//! commits that had not reached the disk, or not the standby. It gives their versions and numbers again, to something
//! else. So whatever was derived from an earlier life is void; and its connections are, for a server that was replaced
//! may go on answering.

use super::pooler::explained;
use sqlx::{AssertSqlSafe, PgConnection};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Tells one life of a database server from the next: when it started, and when its statistics did, which a crash that
/// its main process survives ends.
pub(super) const LIFE: &str = "pg_postmaster_start_time()::text || \
    coalesce((SELECT stats_reset::text FROM pg_stat_bgwriter), '')";

/// The server is a standby, or is kept from being written to because another has taken its place.
pub(super) fn only_reads() -> sqlx::Error {
    sqlx::Error::Protocol("it only reads: it is no primary server, or not any more".into())
}

/// The lives that were met.
#[derive(Debug, Default)]
pub(super) struct Lives(Mutex<Met>);

#[derive(Debug, Default)]
struct Met {
    current: Option<String>,
    changes: u64,
    /// Connections that are older are not used any more.
    trusted_since: Option<Instant>,
    /// When a new connection was last of no use, and why.
    refused: Option<(Instant, Arc<sqlx::Error>)>,
}

impl Lives {
    fn met(&self) -> MutexGuard<'_, Met> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often another life was met. Asked after a statement was answered, it is at least that of the answer.
    pub(super) fn changes(&self) -> u64 {
        self.met().changes
    }

    /// Gives up all connections that there are.
    pub(super) fn distrust(&self) {
        self.met().trusted_since = Some(Instant::now());
    }

    /// Whether a connection of this age may still be used.
    pub(super) fn trusts(&self, age: Duration) -> bool {
        let opened = Instant::now().checked_sub(age);
        self.met().trusted_since.is_none_or(|since| opened.is_some_and(|opened| opened >= since))
    }

    /// Looks at the server behind a connection, and tells whether it may be written to. Not only at a new one: a pooler
    /// between us and the database keeps ours while the servers change behind it.
    pub(super) async fn meet(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let ask = format!("SELECT {LIFE}, current_setting('transaction_read_only')::bool");
        let asked = sqlx::query_as(AssertSqlSafe(ask)).fetch_one(connection).await;
        let (life, reads): (String, bool) = asked.map_err(explained)?;
        if !reads {
            self.enter(&life);
        }
        Ok(!reads)
    }

    /// Looks at a new connection. One that is of no use is an error, which only the log would show: the pool tries again.
    pub(super) async fn admit(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let refused = match self.meet(connection).await {
            Ok(true) => return Ok(()),
            Ok(false) => only_reads(),
            Err(error) => error,
        };
        let refused = Arc::new(refused);
        self.met().refused = Some((Instant::now(), refused.clone()));
        Err(sqlx::Error::Io(std::io::Error::other(refused)))
    }

    /// The pool's error; or, where it waited in vain since then, why new connections were of no use.
    pub(super) fn cause(&self, error: sqlx::Error, since: Instant) -> Arc<sqlx::Error> {
        match &self.met().refused {
            Some((at, refused)) if *at >= since && matches!(error, sqlx::Error::PoolTimedOut) => {
                refused.clone()
            }
            _ => Arc::new(error),
        }
    }

    /// Notes the life that a connection belongs to.
    pub(super) fn enter(&self, life: &str) {
        let mut met = self.met();
        if met.current.as_deref() == Some(life) {
            return;
        }
        if met.current.replace(life.to_owned()).is_some() {
            met.changes += 1;
            met.trusted_since = Some(Instant::now());
            tracing::info!("the database was restarted or replaced; what was derived from it is read anew");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waited_in_vain_is_told_why_new_connections_were_of_no_use_meanwhile() {
        let (lives, start) = (Lives::default(), Instant::now());
        let told = |error, since| lives.cause(error, since).to_string();
        assert_eq!(told(sqlx::Error::PoolTimedOut, start), sqlx::Error::PoolTimedOut.to_string());
        lives.met().refused = Some((start, Arc::new(only_reads())));
        assert_eq!(told(sqlx::Error::PoolTimedOut, start), only_reads().to_string());
        let later = start + Duration::from_secs(1);
        assert_eq!(told(sqlx::Error::PoolTimedOut, later), sqlx::Error::PoolTimedOut.to_string());
        assert_eq!(told(sqlx::Error::PoolClosed, start), sqlx::Error::PoolClosed.to_string());
    }

    #[test]
    fn another_life_counts_and_its_predecessors_connections_are_given_up() {
        let lives = Lives::default();
        lives.enter("one");
        assert!(lives.changes() == 0 && lives.trusts(Duration::from_hours(1)));
        lives.enter("one");
        assert_eq!(lives.changes(), 0);
        lives.enter("two");
        assert_eq!(lives.changes(), 1);
        assert!(!lives.trusts(Duration::from_hours(1)) && lives.trusts(Duration::ZERO));
        lives.enter("one");
        assert_eq!(lives.changes(), 2);
    }

    #[test]
    fn connections_that_were_given_up_stay_so() {
        let lives = Lives::default();
        assert!(lives.trusts(Duration::from_hours(1)));
        lives.distrust();
        assert!(!lives.trusts(Duration::from_hours(1)) && lives.trusts(Duration::ZERO));
        assert_eq!(lives.changes(), 0);
    }
}
