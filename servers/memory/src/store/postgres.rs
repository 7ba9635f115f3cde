//! The store for several replicas: PostgreSQL with pgvector.
//!
//! The replicas share nothing but the database. A write is one transaction that begins with the lock of its scope's
//! row (`turn`); reads take any connection. `bounds` and `silence` tell what is slow from what is silent, and `access` rides out what goes wrong on the way: connections that were cut, a
//! database that restarts or fails over; `login` takes another user or password over. Full text and vectors have indexes of their own (`search`), for scopes that
//! are too large for the engine's memory; Weaviate may index the vectors in the database's place (`weaviate`). Tested with PostgreSQL 18.4 and pgvector 0.8.

mod access;
mod bounds;
mod life;
mod locks;
mod login;
mod migrate;
mod pooler;
mod reads;
mod rows;
mod search;
mod silence;
#[cfg(test)]
pub(crate) mod tests;
mod text;
mod turn;
mod upkeep;
mod weaviate;
mod writes;

use super::{Claim, Onto, Store, StoreError, Unembedded, Vector, Wanted, in_portions};
use crate::model::{
    Archival, Before, Changes, Draft, Entry, Filter, History, Indexed, Inserted, Kept, Key, Page, Said,
    Scope, Session, Statistics,
};
use crate::moment::Moment;
use access::{Access, Trouble};
use anyhow::Context;
use life::Lives;
pub use login::Logins;
use login::login;
use mcp_system_config::{Pool, PostgresSettings, Resilience, WeaviateVectors};
use mcp_system_kit::Metrics;
use mcp_system_kit::breaker::{Breaker, State};
use mcp_system_weaviate::Weaviate;
use sqlx::PgConnection;
use sqlx::postgres::PgPoolOptions;
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;
use weaviate::Elsewhere;

pub use migrate::{PRESENT, migrate};

/// How long a call of Weaviate may take; a search that got no answer goes by words.
const WEAVIATE_DEADLINE: Duration = Duration::from_secs(5);
const MAX_WEAVIATE_ANSWER: usize = 8 << 20;

/// How long the database may say nothing to a call that has a connection: more than it does where it works, since it ends a
/// statement that takes too long by itself before that (`bounds`).
const DEADLINE: Duration = Duration::from_secs(30);

/// How long closing the connections may take.
const FAREWELL: Duration = Duration::from_secs(3);

/// How the database is reached.
#[derive(Clone)]
pub struct Options {
    /// `postgres://user:password@host:port/database`, with whatever else libpq's URLs have.
    pub url: String,
    /// The password, for a URL without one.
    pub password: Option<String>,
    /// The connections.
    pub pool: Pool,
    /// How long a call waits for one of them, and for a database that is not there.
    pub patience: Duration,
    /// How long the database may say nothing to a call that has a connection; then that counts as lost.
    pub deadline: Duration,
    /// Breaker and repetition.
    pub resilience: Resilience,
    /// What is to index the vectors instead of the database.
    pub weaviate: Option<Arc<Weaviate>>,
}

impl std::fmt::Debug for Options {
    // The URL holds a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("pool", &self.pool).finish_non_exhaustive()
    }
}

/// Reads with a connection, as often as it takes. (A macro, since a future that borrows what a closure is given
/// cannot be said to go from thread to thread.)
macro_rules! reading {
    ($store:ident, $connection:ident => $reading:expr) => {{
        let mut attempts = $store.access.attempts();
        loop {
            let outcome = async {
                let mut lent = attempts.connection().await?;
                let read = $store.access.in_time(async {
                    let $connection: &mut PgConnection = &mut lent;
                    Ok::<_, Trouble>($reading)
                });
                let read = read.await;
                lent.settle(read)
            };
            let outcome = outcome.await;
            if let ControlFlow::Break(result) = attempts.judge(outcome).await {
                break result;
            }
        }
    }};
}

/// Reads of a scope, when anything was ever stored in it.
macro_rules! at {
    ($store:ident, $scope:ident, $connection:ident, $place:ident => $reading:expr) => {
        reading!($store, connection => match reads::place(&mut *connection, $scope).await? {
            Some($place) => {
                let $connection = connection;
                Some($reading)
            }
            None => None,
        })
    };
}

impl Options {
    /// As the settings say; `variable` looks up the environment, where a password may stand apart from the URL. Calls to a
    /// Weaviate are shown in these measures.
    pub fn of(
        settings: &PostgresSettings,
        resilience: &Resilience,
        variable: impl Fn(&str) -> Option<String>,
        metrics: Option<&Metrics>,
    ) -> anyhow::Result<Self> {
        let url = match &settings.url_file {
            Some(file) => std::fs::read_to_string(file)
                .with_context(|| format!("the URL of the database cannot be read from {}", file.display()))?,
            None => variable(&settings.url_env).with_context(|| {
                format!("{} holds no URL of a database; set it, or postgres.urlFile", settings.url_env)
            })?,
        };
        let weaviate = settings.weaviate.as_ref().map(|weaviate| client(weaviate, resilience, &variable));
        let weaviate = weaviate.transpose()?.map(|weaviate| match metrics {
            Some(metrics) => weaviate.measured(resilience, metrics),
            None => weaviate,
        });
        Ok(Self {
            weaviate: weaviate.map(Arc::new),
            url: url.trim().to_owned(),
            password: variable("POSTGRES_PASSWORD"),
            pool: settings.pool.clone(),
            patience: Duration::from_secs(settings.acquire_timeout_seconds.into()),
            deadline: DEADLINE,
            resilience: resilience.clone(),
        })
    }
}

/// The client of a Weaviate that indexes vectors.
fn client(
    settings: &WeaviateVectors,
    resilience: &Resilience,
    variable: &impl Fn(&str) -> Option<String>,
) -> anyhow::Result<Weaviate> {
    let connection = mcp_system_weaviate::Connection {
        url: settings.url.clone(),
        api_key: variable(&settings.api_key_env),
        deadline: WEAVIATE_DEADLINE,
        max_answer_bytes: MAX_WEAVIATE_ANSWER,
        resilience: resilience.clone(),
    };
    Ok(Weaviate::new(&connection)?)
}

/// An open store. Any number of them may share a database.
#[derive(Debug)]
pub struct PostgresStore {
    access: Arc<Access>,
    /// What indexes the vectors instead of the database.
    elsewhere: Option<Arc<Elsewhere>>,
    /// Tells it of them.
    telling: Option<AbortOnDropHandle<()>>,
    /// The models, with the length of their vectors, that are known to have an index.
    indexed: Mutex<HashSet<(String, usize)>>,
}

impl PostgresStore {
    /// Connects, and brings the tables up to date.
    pub async fn open(options: &Options) -> anyhow::Result<Self> {
        let login = login(&options.url, options.password.as_deref())?;
        let max = options.pool.max_size.max(1);
        let lives = Arc::new(Lives::default());
        let (meeting, trusting) = (lives.clone(), lives.clone());
        let since = std::time::Instant::now();
        let pool = PgPoolOptions::new()
            .min_connections(options.pool.min_size.min(max))
            .max_connections(max)
            .acquire_timeout(options.patience)
            .idle_timeout(Duration::from_mins(5))
            // A connection that was cut is found out by the statement, which is then repeated.
            .test_before_acquire(false)
            .after_connect(move |connection, _| {
                let lives = meeting.clone();
                Box::pin(async move { lives.admit(connection).await })
            })
            .before_acquire(move |_, about| {
                let trusted = trusting.trusts(about.age);
                Box::pin(std::future::ready(Ok(trusted)))
            })
            .connect_with(login)
            .await
            .map_err(|error| lives.cause(error, since))
            .context("the database cannot be reached")?;
        migrate::bring_up_to_date(&pool).await.context("the tables cannot be brought up to date")?;
        let elsewhere = match &options.weaviate {
            Some(weaviate) => Some(Arc::new(
                Elsewhere::of(weaviate.clone(), &pool).await.context("the database has no name")?,
            )),
            None => None,
        };
        let breaker = Breaker::new((&options.resilience).into());
        let retry = options.resilience.retry.clone();
        let access = Arc::new(Access::new(pool, lives, breaker, retry, options.deadline));
        let telling = elsewhere.clone().map(|elsewhere| {
            let access = access.clone();
            AbortOnDropHandle::new(tokio::spawn(async move { elsewhere.tell(&access).await }))
        });
        Ok(Self { access, elsewhere, telling, indexed: Mutex::default() })
    }

    /// Shows the state of the circuit breaker before the database in these measures from now on.
    pub fn show(&self, metrics: &Metrics) {
        self.access.show(metrics);
    }

    /// What logs this store in, which was opened with these options.
    pub fn logins(&self, options: &Options) -> Logins {
        let Options { url, password, .. } = options;
        Logins::new(self.access.pool.clone(), self.access.lives.clone(), url.clone(), password.clone())
    }

    /// Whether all that a backup with this checksum would hold was moved here, at some time.
    pub async fn was_moved_here(&self, sha256: &str) -> Result<bool, StoreError> {
        reading!(self, connection => {
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM mcp_memory.moves WHERE sha256 = $1)")
                .bind(sha256)
                .fetch_one(connection)
                .await?
        })
    }

    /// Notes that it was.
    pub async fn note_move(&self, sha256: &str) -> Result<(), StoreError> {
        // A write that does no harm when it is repeated, as readings are.
        reading!(self, connection => {
            sqlx::query("INSERT INTO mcp_memory.moves (sha256) VALUES ($1) ON CONFLICT DO NOTHING")
                .bind(sha256)
                .execute(connection)
                .await?;
        })
    }

    /// The entries that Weaviate finds by a vector; `None` where the database does so itself.
    async fn nearest(&self, scope: &Scope, wanted: &Wanted<'_>) -> Result<Option<Vec<i64>>, StoreError> {
        let (Some(elsewhere), Some((model, vector))) = (&self.elsewhere, wanted.dense) else {
            return Ok(None);
        };
        let place = at!(self, scope, _connection, place => place)?;
        let Some(place) = place else { return Ok(Some(Vec::new())) };
        // Weaviate knows no filter but the scope: what the others leave out is made up for by asking for more.
        let limit = if *wanted.filter == Filter::default() { wanted.limit } else { wanted.limit * 4 };
        match elsewhere.nearest(place.scope, model, vector, limit).await {
            Ok(numbers) => Ok(Some(numbers)),
            Err(error) => {
                tracing::warn!(%error, "Weaviate found nothing; the search goes by words");
                Ok(Some(Vec::new()))
            }
        }
    }

    /// Sees to it that a model's vectors have an index.
    async fn index(&self, model: &str, length: usize) -> Result<(), StoreError> {
        let key = (model.to_owned(), length);
        let known = |indexed: &Mutex<HashSet<_>>| {
            indexed.lock().unwrap_or_else(PoisonError::into_inner).contains(&key)
        };
        if known(&self.indexed) {
            return Ok(());
        }
        // Over vectors that are there already it may take minutes, so there is no deadline.
        let mut lent = self.access.connection().await?;
        let made = search::ensure_index(&mut lent, model, length).await.map_err(Trouble::from);
        lent.settle(made)?;
        self.indexed.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
        Ok(())
    }
}

impl Store for PostgresStore {
    async fn insert(&self, scope: &Scope, drafts: Vec<Draft>) -> Result<Vec<Inserted>, StoreError> {
        self.access.write(scope, &writes::Insert { drafts }).await
    }

    async fn replace(
        &self,
        scope: &Scope,
        (number, version): (u64, u64),
        draft: Draft,
    ) -> Result<Option<u64>, StoreError> {
        self.access.write(scope, &writes::Replace { number, version, draft }).await
    }

    async fn delete(&self, scope: &Scope, id: &str) -> Result<bool, StoreError> {
        self.access.write(scope, &writes::Delete { id: id.to_owned() }).await
    }

    async fn get(&self, scope: &Scope, id: &str) -> Result<Option<Kept>, StoreError> {
        Ok(at!(self, scope, connection, place => reads::get(connection, place, id).await?)?.flatten())
    }

    async fn get_many(&self, scope: &Scope, numbers: &[u64]) -> Result<Vec<Kept>, StoreError> {
        let read = at!(self, scope, connection, place => reads::get_many(connection, place, numbers).await?);
        Ok(read?.unwrap_or_default())
    }

    async fn recent(&self, scope: &Scope, filter: &Filter, limit: u32) -> Result<Page<Entry>, StoreError> {
        let read =
            at!(self, scope, connection, place => reads::recent(connection, place, filter, limit).await?);
        Ok(read?.unwrap_or(Page { items: Vec::new(), truncated: false }))
    }

    async fn begin(&self, scope: &Scope, session: Session) -> Result<(), StoreError> {
        self.access.write(scope, &writes::Begin { session }).await
    }

    async fn say(&self, scope: &Scope, message: Draft, open_end: Moment) -> Result<Said, StoreError> {
        let said = self.access.write(scope, &writes::Say { message, open_end }).await?;
        // Only a scope that could not be made has nothing to say.
        said.ok_or(StoreError::Closed)
    }

    async fn session(&self, scope: &Scope, session_id: &str) -> Result<Option<Session>, StoreError> {
        let read =
            at!(self, scope, connection, place => reads::session(connection, place, session_id).await?);
        Ok(read?.flatten())
    }

    async fn history(
        &self,
        scope: &Scope,
        session_id: &str,
        before: Option<&Before>,
        limit: u32,
    ) -> Result<Option<History>, StoreError> {
        let read = at!(self, scope, connection, place => reads::history(connection, place, session_id, before, limit).await?);
        Ok(read?.flatten())
    }

    async fn agents_with_session(
        &self,
        tenant: &str,
        session_id: &str,
        limit: u32,
    ) -> Result<Vec<String>, StoreError> {
        reading!(self, connection => reads::agents_with_session(connection, tenant, session_id, limit).await?)
    }

    async fn version(&self, scope: &Scope) -> Result<u64, StoreError> {
        let version = at!(self, scope, _connection, place => place.version.cast_unsigned())?;
        Ok(version.unwrap_or(0))
    }

    fn lives(&self) -> u64 {
        self.access.lives.changes()
    }

    async fn changes_since(
        &self,
        scope: &Scope,
        version: u64,
        model: Option<&str>,
        limit: u32,
    ) -> Result<Changes, StoreError> {
        reading!(self, connection => reads::changes_since(connection, scope, version, model, limit).await?)
    }

    async fn load(
        &self,
        scope: &Scope,
        after: u64,
        model: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Indexed>, StoreError> {
        let read =
            at!(self, scope, connection, place => reads::load(connection, place, after, model, limit).await?);
        Ok(read?.unwrap_or_default())
    }

    async fn size(&self, scope: &Scope) -> Result<u64, StoreError> {
        let read = at!(self, scope, connection, place => reads::size(connection, place).await?);
        Ok(read?.unwrap_or(0))
    }

    async fn candidates(
        &self,
        scope: &Scope,
        wanted: &Wanted<'_>,
    ) -> Result<Option<Vec<Indexed>>, StoreError> {
        let nearest = self.nearest(scope, wanted).await?;
        let nearest = nearest.as_deref();
        let read = at!(self, scope, connection, place => search::candidates(connection, place, wanted, nearest).await?);
        Ok(Some(read?.unwrap_or_default()))
    }

    async fn keep_analyses(
        &self,
        scope: &Scope,
        analyses: Vec<(u64, u64, Vec<u8>)>,
    ) -> Result<(), StoreError> {
        self.access.write(scope, &upkeep::KeepAnalyses { analyses }).await
    }

    async fn keep_vectors(&self, scope: &Scope, model: &str, vectors: Vec<Vector>) -> Result<(), StoreError> {
        let lengths: HashSet<usize> = vectors.iter().map(|vector| vector.values.len()).collect();
        if self.elsewhere.is_none() {
            for length in lengths {
                self.index(model, length).await?;
            }
        }
        self.access.write(scope, &upkeep::KeepVectors { model: model.to_owned(), vectors }).await?;
        if let Some(elsewhere) = &self.elsewhere {
            elsewhere.wake();
        }
        Ok(())
    }

    async fn unembedded(&self, model: &str, after: u64, limit: u32) -> Result<Vec<Unembedded>, StoreError> {
        reading!(self, connection => reads::unembedded(connection, model, after, limit).await?)
    }

    async fn claim_unembedded(&self) -> Result<Option<Claim>, StoreError> {
        Ok(self.access.claim(locks::UNEMBEDDED).await?.map(Claim::held_by))
    }

    async fn archive(
        &self,
        scope: &Scope,
        run_id: &str,
        at: Moment,
        archivals: Vec<Archival>,
    ) -> Result<u64, StoreError> {
        self.access.write(scope, &upkeep::Archive { run_id: run_id.to_owned(), at, archivals }).await
    }

    async fn unarchive(&self, scope: &Scope, run_id: Option<&str>) -> Result<u64, StoreError> {
        let unarchive = upkeep::Unarchive { run_id: run_id.map(ToOwned::to_owned) };
        in_portions(|| self.access.write(scope, &unarchive)).await
    }

    async fn purge(&self, scope: &Scope, run_id: Option<&str>) -> Result<u64, StoreError> {
        let purge = upkeep::Purge { run_id: run_id.map(ToOwned::to_owned) };
        in_portions(|| self.access.write(scope, &purge)).await
    }

    async fn statistics(
        &self,
        tenant: &str,
        agent_id: Option<&str>,
        now: Moment,
    ) -> Result<Statistics, StoreError> {
        reading!(self, connection => {
        let statistics = reads::statistics(connection, tenant, agent_id, now).await?;
            Statistics { store_bytes: Some(reads::bytes(connection).await?), ..statistics }
        })
    }

    async fn scopes(&self, after: Option<&Scope>, limit: u32) -> Result<Vec<Scope>, StoreError> {
        reading!(self, connection => reads::scopes(connection, after, limit).await?)
    }

    async fn recent_scopes(&self, tenant: Option<&str>, limit: u32) -> Result<Vec<Scope>, StoreError> {
        reading!(self, connection => reads::recent_scopes(connection, tenant, limit).await?)
    }

    async fn export_entries(
        &self,
        scope: &Scope,
        after: u64,
        limit: u32,
    ) -> Result<Vec<(Kept, Option<Key>)>, StoreError> {
        let read = at!(self, scope, connection, place => reads::export_entries(connection, place, after, limit).await?);
        Ok(read?.unwrap_or_default())
    }

    async fn export_sessions(
        &self,
        scope: &Scope,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Session>, StoreError> {
        let read = at!(self, scope, connection, place => reads::export_sessions(connection, place, after, limit).await?);
        Ok(read?.unwrap_or_default())
    }

    async fn import(
        &self,
        scope: &Scope,
        sessions: Vec<Session>,
        drafts: Vec<Draft>,
        onto: Onto,
    ) -> Result<(u64, u64), StoreError> {
        self.access.write(scope, &upkeep::Import { sessions, drafts, onto }).await
    }

    fn take_resilience(&self, resilience: &Resilience) {
        self.access.take_resilience(resilience);
        if let Some(elsewhere) = &self.elsewhere {
            elsewhere.weaviate.guarded().set(resilience);
        }
    }

    fn circuit_breaker(&self) -> Option<State> {
        Some(self.access.circuit_breaker())
    }

    async fn check(&self) -> Result<(), StoreError> {
        reading!(self, connection => {
            // Whoever only searches would notice neither.
            if !self.access.lives.meet(&mut *connection).await? {
                Err(Trouble::OnlyReads(life::only_reads()))?;
            }
            sqlx::query("SELECT 1 FROM mcp_memory.scopes LIMIT 1").execute(connection).await?;
        })
    }

    async fn close(&self) {
        if let Some(telling) = &self.telling {
            telling.abort();
        }
        // It takes leave of the database on each connection, and would wait for ever where nobody is there any more.
        if tokio::time::timeout(FAREWELL, self.access.pool.close()).await.is_err() {
            tracing::warn!("the database did not answer; its connections are left to themselves");
        }
    }
}
