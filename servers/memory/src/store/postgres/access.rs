//! How the database is reached: a pool with a bound, a circuit breaker, and repetition of what is safe to repeat.
//!
//! A read, and a transaction that certainly was not committed, is tried again. When the connection is lost while a
//! commit is under way, the database itself is asked what became of the transaction: only then it is acknowledged
//! or tried again. A connection is lost, too, where nothing is answered in time: a machine that lost its power says no
//! farewell, and by itself TCP waits for it for a quarter of an hour.

use super::life::{LIFE, Lives};
use super::pooler::explained;
use super::silence::unless_silent;
use super::turn::{Turn, Write};
use crate::model::Scope;
use crate::store::StoreError;
use mcp_system_config::{Resilience, Retry};
use mcp_system_kit::Metrics;
use mcp_system_kit::breaker::{Breaker, State};
use mcp_system_kit::retry::{retry, waits};
use sqlx::pool::PoolConnection;
use sqlx::{ConnectOptions, PgConnection, PgPool, Postgres, Transaction};
use std::io::ErrorKind;
use std::ops::{ControlFlow, Deref, DerefMut};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// The way to the database.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) pool: PgPool,
    pub(super) lives: Arc<Lives>,
    breaker: Breaker,
    retry: RwLock<Retry>,
    /// How long the database may say nothing while it is asked.
    deadline: Duration,
}

/// A connection of the pool, in use. It goes back where the database has answered on it; otherwise, and where nobody waits for
/// the answer any more, it is closed: the pool would wait for that, with the connection's place taken, even where it leads nowhere.
pub(super) struct Lent {
    /// There until it is settled.
    connection: Option<PoolConnection<Postgres>>,
    /// What going back may take.
    deadline: Duration,
}

impl Lent {
    /// Ends the use of it, of which this came.
    pub(super) fn settle<T>(self, outcome: Result<T, Trouble>) -> Result<T, Trouble> {
        if !outcome.as_ref().is_err_and(Trouble::is_outage) {
            self.give_back();
        }
        outcome
    }

    /// Ends the use of it, since the database has answered.
    pub(super) fn give_back(mut self) {
        if let Some(connection) = self.connection.take() {
            tokio::spawn(give_back(connection, self.deadline));
        }
    }
}

/// The pool asks on a connection before it takes it back. Where that is not answered, it is closed after all.
async fn give_back(mut connection: PoolConnection<Postgres>, deadline: Duration) {
    let _ = tokio::time::timeout(deadline, connection.return_to_pool()).await;
}

impl Deref for Lent {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.connection.as_deref().expect("it is there until it is settled")
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection.as_deref_mut().expect("it is there until it is settled")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            drop(connection.detach());
        }
    }
}

/// A transaction that only has to be committed, its number, and the life of the server that gave it.
type Prepared<'a> = (Transaction<'a, Postgres>, Option<String>, String);

/// A write whose connection was lost while it was being committed.
struct Limbo<T> {
    written: T,
    id: Option<String>,
    life: String,
    error: sqlx::Error,
}

/// What went wrong, and whether it can be tried again.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The database did not work; nothing was changed.
    Outage(sqlx::Error),
    /// The server only reads: another has taken its place, or will; nothing was changed.
    OnlyReads(sqlx::Error),
    /// The connection was lost during a commit, and the database cannot be asked what became of it.
    Unknown(sqlx::Error),
    /// Two transactions were in each other's way, or one for too long; nothing was changed.
    Conflict(sqlx::Error),
    /// It is for the caller to hear.
    Final(StoreError),
}

impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Self {
        let error = explained(error);
        match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::WorkerCrashed => Self::Outage(error),
            sqlx::Error::Database(database) => match database.code().as_deref() {
                Some("25006") => Self::OnlyReads(error),
                Some(code) if is_outage(code) => Self::Outage(error),
                Some("40001" | "40P01" | "55P03") => Self::Conflict(error),
                _ => Self::Final(StoreError::of_postgres(error)),
            },
            _ => Self::Final(StoreError::of_postgres(error)),
        }
    }
}

/// SQLSTATE classes and codes of a database that is not there, ending, or not yet begun; that has ended a session for its
/// idleness, or keeps it in a transaction that failed as it began; or that has been given another password, which this
/// server is told of a little later.
fn is_outage(code: &str) -> bool {
    code.starts_with("08")
        || code.starts_with("28")
        || matches!(code, "25P02" | "25P03" | "53300" | "57P01" | "57P02" | "57P03" | "57P05")
}

impl Trouble {
    const fn may_repeat(&self) -> bool {
        matches!(self, Self::Outage(_) | Self::OnlyReads(_) | Self::Conflict(_))
    }

    const fn is_outage(&self) -> bool {
        matches!(
            self,
            Self::Outage(_)
                | Self::OnlyReads(_)
                | Self::Unknown(_)
                | Self::Final(StoreError::Unreachable { .. })
        )
    }
}

impl From<Trouble> for StoreError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Outage(error) | Trouble::OnlyReads(error) => Self::Unreachable(Arc::new(error)),
            Trouble::Unknown(error) => Self::Uncertain(Arc::new(error)),
            Trouble::Conflict(error) => Self::of_postgres(error),
            Trouble::Final(error) => error,
        }
    }
}

impl StoreError {
    pub(super) fn of_postgres(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::PoolClosed => Self::Closed,
            // disk_full; or a limit that an administrator set.
            sqlx::Error::Database(database)
                if matches!(database.code().as_deref(), Some("53100" | "53400")) =>
            {
                Self::Full(Arc::new(error))
            }
            _ => Self::Database(Arc::new(error)),
        }
    }
}

impl Access {
    /// By these connections, which were opened for those lives.
    pub(super) fn new(
        pool: PgPool,
        lives: Arc<Lives>,
        breaker: Breaker,
        retry: Retry,
        deadline: Duration,
    ) -> Self {
        Self { pool, lives, breaker, retry: RwLock::new(retry), deadline }
    }

    /// Puts other limits into force.
    pub(super) fn take_resilience(&self, resilience: &Resilience) {
        self.breaker.set_limits(resilience.into());
        *self.retry.write().unwrap_or_else(PoisonError::into_inner) = resilience.retry.clone();
    }

    fn retry(&self) -> Retry {
        self.retry.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The state of the circuit breaker before the database.
    pub(super) fn circuit_breaker(&self) -> State {
        self.breaker.state()
    }

    /// Shows that state in these measures from now on.
    pub(super) fn show(&self, metrics: &Metrics) {
        self.breaker.show("store", metrics);
    }

    /// Tries to read; see [`Attempts`].
    pub(super) fn attempts(&self) -> Attempts<'_> {
        Attempts { access: self, waits: Box::new(waits(&self.retry())) }
    }

    /// Writes in one transaction, that of a scope.
    pub(super) async fn write<W: Write>(&self, scope: &Scope, write: &W) -> Result<W::Written, StoreError> {
        // Boxed: a transaction's state is large.
        let once = || Box::pin(self.admitted(self.transact(scope, write)));
        Ok(retry(&self.retry(), Trouble::may_repeat, once).await?)
    }

    async fn transact<W: Write>(&self, scope: &Scope, write: &W) -> Result<W::Written, Trouble> {
        let mut lent = self.connection().await?;
        let outcome = self.carry_out(&mut lent, scope, write).await;
        match outcome {
            Ok(Ok(written)) => lent.settle(Ok(written)),
            Ok(Err(Limbo { written, id, life, error })) => {
                drop(lent);
                self.what_became_of(id, &life, error).await.map(|()| written)
            }
            Err(trouble) => lent.settle(Err(trouble)),
        }
    }

    async fn carry_out<W: Write>(
        &self,
        connection: &mut PgConnection,
        scope: &Scope,
        write: &W,
    ) -> Result<Result<W::Written, Limbo<W::Written>>, Trouble> {
        let (written, prepared) = self.in_time(prepare(connection, scope, write)).await?;
        let Some((transaction, id, life)) = prepared else { return Ok(Ok(written)) };
        self.lives.enter(&life);
        match self.in_time(async { transaction.commit().await.map_err(Trouble::from) }).await {
            Ok(()) => Ok(Ok(written)),
            Err(Trouble::Outage(error)) => Ok(Err(Limbo { written, id, life, error })),
            Err(trouble) => Err(trouble),
        }
    }

    /// What the database answers, however long that takes, unless it falls silent.
    pub(super) async fn in_time<T>(
        &self,
        asking: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, Trouble> {
        // Boxed: as it is, it would lie in this future twice.
        let asked = unless_silent(self.deadline, Box::pin(asking)).await;
        asked.unwrap_or_else(|| {
            // Other connections that are as old may lead nowhere as well.
            self.lives.distrust();
            Err(Trouble::Outage(sqlx::Error::Io(ErrorKind::TimedOut.into())))
        })
    }

    /// Whether a transaction was committed whose answer was lost.
    async fn what_became_of(
        &self,
        id: Option<String>,
        life: &str,
        error: sqlx::Error,
    ) -> Result<(), Trouble> {
        let Some(id) = id else { return Err(Trouble::Outage(error)) };
        let ask = || async {
            let mut lent = self.connection().await?;
            let asked = self.in_time(async {
                let ask = format!("SELECT pg_xact_status($1::xid8), {LIFE}");
                let asked: (Option<String>, String) =
                    sqlx::query_as(sqlx::AssertSqlSafe(ask)).bind(&id).fetch_one(&mut *lent).await?;
                Ok::<_, Trouble>(asked)
            });
            let asked = asked.await;
            let (status, now) = lent.settle(asked)?;
            match status.as_deref() {
                // In another life, the number may be that of another transaction.
                Some("committed") if now != life => Ok(None),
                // The old connection's session has not ended yet.
                Some("in progress") => Err(Trouble::Outage(sqlx::Error::WorkerCrashed)),
                status => Ok(status.map(str::to_owned)),
            }
        };
        match retry(&self.retry(), Trouble::may_repeat, ask).await {
            Ok(Some(status)) if status == "committed" => Ok(()),
            Ok(Some(_)) => Err(Trouble::Outage(error)),
            Ok(None) | Err(_) => Err(Trouble::Unknown(error)),
        }
    }

    /// A connection that holds this lock for as long as it is open; `None` while another one does. It is none of the
    /// pool's, to which the lock would come back with it; and the lock is a transaction's, since a pooler between us and the
    /// database may keep a session that we are done with.
    pub(super) async fn claim(&self, lock: i64) -> Result<Option<PgConnection>, Trouble> {
        let login = self.pool.connect_options();
        let claiming = async {
            let mut connection = login.connect().await?;
            sqlx::query("BEGIN").execute(&mut connection).await?;
            let claim = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1)").bind(lock);
            let claimed: bool = claim.fetch_one(&mut connection).await?;
            Ok::<_, Trouble>(claimed.then_some(connection))
        };
        self.in_time(claiming).await
    }

    async fn admitted<T>(&self, doing: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
        if let Err(wait) = self.breaker.admit() {
            return Err(Trouble::Final(StoreError::LeftAlone { wait }));
        }
        let outcome = doing.await;
        self.report(&outcome);
        outcome
    }

    /// Tells the breaker what came of a try.
    fn report<T>(&self, outcome: &Result<T, Trouble>) {
        if let Err(Trouble::OnlyReads(_)) = outcome {
            // The next try is to reach the one that took its place.
            self.lives.distrust();
        }
        match outcome {
            Err(trouble) if trouble.is_outage() => self.breaker.fail(),
            // Nobody was asked: that tells nothing of the database.
            Err(Trouble::Final(
                StoreError::Busy { .. } | StoreError::LeftAlone { .. } | StoreError::Closed,
            )) => {}
            _ => self.breaker.succeed(),
        }
    }

    pub(super) async fn connection(&self) -> Result<Lent, Trouble> {
        let since = Instant::now();
        match self.pool.acquire().await {
            Ok(connection) => Ok(Lent { connection: Some(connection), deadline: self.deadline }),
            Err(sqlx::Error::PoolTimedOut) => {
                let max = self.pool.options().get_max_connections();
                let all_in_use = self.pool.size() >= max && self.pool.num_idle() == 0;
                if all_in_use {
                    return Err(Trouble::Final(StoreError::Busy { connections: max }));
                }
                // It waited long enough already: not to be tried again.
                let cause = self.lives.cause(sqlx::Error::PoolTimedOut, since);
                Err(Trouble::Final(StoreError::Unreachable(cause)))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Does all of it but the commit; where the scope does not exist, there is nothing to commit.
async fn prepare<'a, W: Write>(
    connection: &'a mut PgConnection,
    scope: &Scope,
    write: &W,
) -> Result<(W::Written, Option<Prepared<'a>>), Trouble> {
    let Some(mut turn) = Turn::begin(connection, scope, W::OPENS).await? else {
        return Ok((W::nothing(), None));
    };
    match write.apply(&mut turn).await? {
        Ok(written) => Ok((written, Some(turn.close().await?))),
        Err(refused) => {
            turn.give_up().await?;
            Err(Trouble::Final(refused))
        }
    }
}

/// Tries that follow each other until one succeeds, or until it makes no sense to go on.
pub(super) struct Attempts<'a> {
    access: &'a Access,
    waits: Box<dyn Iterator<Item = Duration> + Send + 'a>,
}

impl Attempts<'_> {
    /// A connection for the next try.
    pub(super) async fn connection(&mut self) -> Result<Lent, Trouble> {
        self.access.breaker.admit().map_err(|wait| Trouble::Final(StoreError::LeftAlone { wait }))?;
        self.access.connection().await
    }

    /// Whether this is the end; otherwise waits for the time of the next try.
    pub(super) async fn judge<T>(
        &mut self,
        outcome: Result<T, Trouble>,
    ) -> ControlFlow<Result<T, StoreError>> {
        self.access.report(&outcome);
        match outcome {
            Err(trouble) if trouble.may_repeat() => match self.waits.next() {
                Some(wait) => {
                    tokio::time::sleep(wait).await;
                    ControlFlow::Continue(())
                }
                None => ControlFlow::Break(Err(trouble.into())),
            },
            outcome => ControlFlow::Break(outcome.map_err(StoreError::from)),
        }
    }
}
