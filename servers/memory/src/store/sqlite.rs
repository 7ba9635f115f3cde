//! The embedded store: one SQLite file in the data directory.
//!
//! One task writes (`writer`), a pool of connections reads; in WAL mode neither waits for the other. Calls for entries by their
//! numbers, the end of every search, share statements (`together`).
//! With `synchronous = FULL`, the default, each commit reaches the disk before it is acknowledged, so that neither
//! `kill -9` nor a power cut takes an acknowledged write. `NORMAL` is enough for `kill -9` alone and stores
//! faster. There is no full-text index here: the engine's index finds more, and it is derived from what is kept here.
//!
//! A parameter that SQLite could plan by stands behind a plus: after LIMIT, or compared with a column that the condition of
//! an index compares too. Without it the statement would be prepared anew at each call, which takes as long as a write.

mod ledger;
mod lock;
mod migrate;
mod places;
mod readers;
mod reads;
mod rows;
#[cfg(test)]
mod tests;
mod together;
mod upkeep;
mod writer;
mod writes;

use super::{Onto, Store, StoreError, Unembedded, Vector, in_portions};
use crate::model::{
    Archival, Before, Changes, Draft, Entry, Filter, History, Indexed, Inserted, Kept, Key, Page, Said,
    Scope, Session, Statistics,
};
use crate::moment::Moment;
use anyhow::Context;
use lock::Lock;
use mcp_system_config::{Pool, Synchronous};
use places::{Place, Places};
use readers::Readers;
use reads::Asked;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Sqlite, SqlitePool};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use together::Together;
use writer::Writer;

pub use lock::InUse;
pub use migrate::migrate;

/// How the embedded store is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// The connections that read.
    pub pool: Pool,
    /// What an acknowledged write survives.
    pub synchronous: Synchronous,
    /// The most writes that share a transaction.
    pub batch: usize,
    /// The most pages that the file may grow to; `None` leaves it to the disk.
    pub max_pages: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self { pool: Pool::default(), synchronous: Synchronous::Full, batch: 100, max_pages: None }
    }
}

/// What a reading connection keeps of the file: KiB, as a negative number. Each has its own, and there may be twenty; SQLite's 2 MiB
/// for each were a third of the server's memory. The upper pages of 100,000 entries have room, the others lie in the kernel's cache.
const READER_CACHE: &str = "-256";

/// An open store. Two on one directory are refused, in one process as in two.
#[derive(Debug)]
pub struct SqliteStore {
    file: PathBuf,
    readers: Readers,
    together: Together,
    writer: Writer,
    places: Arc<Places>,
    /// Held by all but those that only read beside a server.
    _lock: Option<Lock>,
}

impl SqliteStore {
    /// Opens the store in a directory, which is made if it is missing, and brings its tables up to date.
    ///
    /// # Errors
    /// [`InUse`] where another process has it open to write.
    pub async fn open(directory: &Path, options: &Options) -> anyhow::Result<Self> {
        make_private_directory(directory)
            .with_context(|| format!("cannot make the data directory {}", directory.display()))?;
        let lock = Lock::take(directory)?;
        let file = file_in(directory);
        let writing = open_to_write(&file, options).await?;
        migrate::bring_up_to_date(&writing)
            .await
            .with_context(|| format!("cannot bring the tables of {} up to date", file.display()))?;
        Ok(Self::over(file, writing, options, Some(lock)))
    }

    /// Opens a store that is there, to read it while a server may write to it. It must have the present tables.
    pub async fn open_beside(directory: &Path, options: &Options) -> anyhow::Result<Self> {
        let file = file_in(directory);
        if !file.exists() {
            anyhow::bail!("there is no store in {}", directory.display());
        }
        let reading = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_lazy_with(any(&file).pragma("query_only", "ON"));
        sqlx::query("SELECT key_hash FROM entries LIMIT 1").execute(&reading).await.with_context(|| {
            format!("{} cannot be read, or was stored by another version of this program", file.display())
        })?;
        Ok(Self::over(file, reading, options, None))
    }

    fn over(file: PathBuf, writing: SqlitePool, options: &Options, lock: Option<Lock>) -> Self {
        let max = options.pool.max_size.max(1);
        let readers = SqlitePoolOptions::new()
            .min_connections(options.pool.min_size.min(max))
            .max_connections(max)
            .test_before_acquire(false)
            .idle_timeout(Duration::from_mins(1))
            .max_lifetime(None)
            .connect_lazy_with(any(&file).pragma("query_only", "ON").pragma("cache_size", READER_CACHE));
        let places = Arc::new(Places::default());
        let writer = Writer::start(writing, places.clone(), options.batch.max(1));
        let readers = Readers::of(readers);
        Self { file, readers, together: Together::default(), writer, places, _lock: lock }
    }

    /// A connection and the place of a scope, when anything was ever stored in it.
    async fn at(&self, scope: &Scope) -> Result<Option<(PoolConnection<Sqlite>, Place)>, StoreError> {
        let mut reader = self.readers.acquire().await?;
        Ok(self.places.find(&mut reader, scope).await?.map(|place| (reader, place)))
    }

    /// Bytes of the file and of the log of writes that are not in it yet.
    async fn bytes(&self) -> u64 {
        let mut log = self.file.clone().into_os_string();
        log.push("-wal");
        let mut bytes = 0;
        for file in [self.file.as_os_str(), &log] {
            bytes += tokio::fs::metadata(file).await.map_or(0, |file| file.len());
        }
        bytes
    }
}

impl Store for SqliteStore {
    async fn insert(&self, scope: &Scope, drafts: Vec<Draft>) -> Result<Vec<Inserted>, StoreError> {
        self.writer.write(writes::Insert { scope: scope.clone(), drafts }).await
    }

    async fn replace(
        &self,
        scope: &Scope,
        (number, version): (u64, u64),
        draft: Draft,
    ) -> Result<Option<u64>, StoreError> {
        self.writer.write(writes::Replace { scope: scope.clone(), number, version, draft }).await
    }

    async fn delete(&self, scope: &Scope, id: &str) -> Result<bool, StoreError> {
        self.writer.write(writes::Delete { scope: scope.clone(), id: id.to_owned() }).await
    }

    async fn get(&self, scope: &Scope, id: &str) -> Result<Option<Kept>, StoreError> {
        match self.at(scope).await? {
            Some((mut reader, place)) => reads::get(&mut reader, place, id).await,
            None => Ok(None),
        }
    }

    async fn get_many(&self, scope: &Scope, numbers: &[u64]) -> Result<Vec<Kept>, StoreError> {
        let place = match self.places.peek(scope) {
            None => self.at(scope).await?.map(|(reader, place)| {
                self.readers.keep(reader);
                place
            }),
            known => known,
        };
        match place {
            Some(place) => self.together.get_many(&self.readers, &Asked::of(place, numbers)).await,
            None => Ok(Vec::new()),
        }
    }

    async fn recent(&self, scope: &Scope, filter: &Filter, limit: u32) -> Result<Page<Entry>, StoreError> {
        match self.at(scope).await? {
            Some((mut reader, place)) => reads::recent(&mut reader, place, filter, limit).await,
            None => Ok(Page { items: Vec::new(), truncated: false }),
        }
    }

    async fn begin(&self, scope: &Scope, session: Session) -> Result<(), StoreError> {
        self.writer.write(writes::Begin { scope: scope.clone(), session }).await
    }

    async fn say(&self, scope: &Scope, message: Draft, open_end: Moment) -> Result<Said, StoreError> {
        self.writer.write(writes::Say { scope: scope.clone(), message, open_end }).await
    }

    async fn session(&self, scope: &Scope, session_id: &str) -> Result<Option<Session>, StoreError> {
        match self.at(scope).await? {
            Some((mut reader, place)) => reads::session(&mut reader, place, session_id).await,
            None => Ok(None),
        }
    }

    async fn history(
        &self,
        scope: &Scope,
        session_id: &str,
        before: Option<&Before>,
        limit: u32,
    ) -> Result<Option<History>, StoreError> {
        match self.at(scope).await? {
            Some((mut reader, place)) => reads::history(&mut reader, place, session_id, before, limit).await,
            None => Ok(None),
        }
    }

    async fn agents_with_session(
        &self,
        tenant: &str,
        session_id: &str,
        limit: u32,
    ) -> Result<Vec<String>, StoreError> {
        reads::agents_with_session(&mut *self.readers.acquire().await?, tenant, session_id, limit).await
    }

    async fn version(&self, scope: &Scope) -> Result<u64, StoreError> {
        if let Some(place) = self.places.peek(scope) {
            return Ok(place.version.cast_unsigned());
        }
        Ok(self.at(scope).await?.map_or(0, |(_, place)| place.version.cast_unsigned()))
    }

    async fn changes_since(
        &self,
        scope: &Scope,
        version: u64,
        model: Option<&str>,
        limit: u32,
    ) -> Result<Changes, StoreError> {
        reads::changes_since(&mut *self.readers.acquire().await?, scope, version, model, limit).await
    }

    async fn load(
        &self,
        scope: &Scope,
        after: u64,
        model: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Indexed>, StoreError> {
        match self.at(scope).await? {
            Some((mut reader, place)) => reads::load(&mut reader, place, after, model, limit).await,
            None => Ok(Vec::new()),
        }
    }

    async fn size(&self, scope: &Scope) -> Result<u64, StoreError> {
        match self.at(scope).await? {
            Some((mut reader, place)) => reads::size(&mut reader, place).await,
            None => Ok(0),
        }
    }

    async fn keep_analyses(
        &self,
        scope: &Scope,
        analyses: Vec<(u64, u64, Vec<u8>)>,
    ) -> Result<(), StoreError> {
        self.writer.write(upkeep::KeepAnalyses { scope: scope.clone(), analyses }).await
    }

    async fn keep_vectors(&self, scope: &Scope, model: &str, vectors: Vec<Vector>) -> Result<(), StoreError> {
        self.writer
            .write(upkeep::KeepVectors { scope: scope.clone(), model: model.to_owned(), vectors })
            .await
    }

    async fn unembedded(&self, model: &str, after: u64, limit: u32) -> Result<Vec<Unembedded>, StoreError> {
        reads::unembedded(&mut *self.readers.acquire().await?, model, after, limit).await
    }

    async fn archive(
        &self,
        scope: &Scope,
        run_id: &str,
        at: Moment,
        archivals: Vec<Archival>,
    ) -> Result<u64, StoreError> {
        let run_id = run_id.to_owned();
        self.writer.write(upkeep::Archive { scope: scope.clone(), run_id, at, archivals }).await
    }

    async fn unarchive(&self, scope: &Scope, run_id: Option<&str>) -> Result<u64, StoreError> {
        in_portions(|| {
            let run_id = run_id.map(ToOwned::to_owned);
            self.writer.write(upkeep::Unarchive { scope: scope.clone(), run_id })
        })
        .await
    }

    async fn purge(&self, scope: &Scope, run_id: Option<&str>) -> Result<u64, StoreError> {
        in_portions(|| {
            let run_id = run_id.map(ToOwned::to_owned);
            self.writer.write(upkeep::Purge { scope: scope.clone(), run_id })
        })
        .await
    }

    async fn statistics(
        &self,
        tenant: &str,
        agent_id: Option<&str>,
        now: Moment,
    ) -> Result<Statistics, StoreError> {
        let statistics =
            reads::statistics(&mut *self.readers.acquire().await?, tenant, agent_id, now).await?;
        Ok(Statistics { store_bytes: Some(self.bytes().await), ..statistics })
    }

    async fn scopes(&self, after: Option<&Scope>, limit: u32) -> Result<Vec<Scope>, StoreError> {
        reads::scopes(&mut *self.readers.acquire().await?, after, limit).await
    }

    async fn recent_scopes(&self, tenant: Option<&str>, limit: u32) -> Result<Vec<Scope>, StoreError> {
        reads::recent_scopes(&mut *self.readers.acquire().await?, tenant, limit).await
    }

    async fn export_entries(
        &self,
        scope: &Scope,
        after: u64,
        limit: u32,
    ) -> Result<Vec<(Kept, Option<Key>)>, StoreError> {
        match self.at(scope).await? {
            Some((mut reader, place)) => reads::export_entries(&mut reader, place, after, limit).await,
            None => Ok(Vec::new()),
        }
    }

    async fn export_sessions(
        &self,
        scope: &Scope,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Session>, StoreError> {
        match self.at(scope).await? {
            Some((mut reader, place)) => reads::export_sessions(&mut reader, place, after, limit).await,
            None => Ok(Vec::new()),
        }
    }

    async fn import(
        &self,
        scope: &Scope,
        sessions: Vec<Session>,
        drafts: Vec<Draft>,
        onto: Onto,
    ) -> Result<(u64, u64), StoreError> {
        self.writer.write(upkeep::Import { scope: scope.clone(), sessions, drafts, onto }).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        if self.writer.is_closed() {
            return Err(StoreError::Closed);
        }
        sqlx::query("SELECT 1 FROM sessions LIMIT 1").execute(&mut *self.readers.acquire().await?).await?;
        Ok(())
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// SQLite's primary result codes for a disk, a file or a quota without room: FULL, and IOERR where a write failed.
const NO_ROOM: [i32; 1] = [13];
/// Extended codes of IOERR: a write, a sync, a truncation or the shared memory's growth failed.
const FAILED_WRITES: [i32; 5] = [778, 1034, 1546, 4874, 5386];

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|error| error.code()?.parse::<i32>().ok());
        match (error, code) {
            (sqlx::Error::PoolClosed, _) => Self::Closed,
            (error, Some(code)) if NO_ROOM.contains(&(code & 0xff)) || FAILED_WRITES.contains(&code) => {
                Self::Full(Arc::new(error))
            }
            (error, _) => Self::Database(Arc::new(error)),
        }
    }
}

/// Where the store lies in a data directory.
fn file_in(directory: &Path) -> PathBuf {
    directory.join("memory.db")
}

fn any(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .busy_timeout(Duration::from_secs(5))
        .foreign_keys(true)
        // A container's root is read-only: nothing may be spilled to a temporary file.
        .pragma("temp_store", "MEMORY")
}

async fn open_to_write(file: &Path, options: &Options) -> anyhow::Result<SqlitePool> {
    let synchronous = match options.synchronous {
        Synchronous::Full => SqliteSynchronous::Full,
        Synchronous::Normal => SqliteSynchronous::Normal,
    };
    let mut writing = any(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        // A burst leaves a long log behind; this much of it is kept.
        .pragma("journal_size_limit", "67108864")
        .optimize_on_close(true, None);
    if let Some(pages) = options.max_pages {
        writing = writing.pragma("max_page_count", pages.to_string());
    }
    SqlitePoolOptions::new()
        .max_connections(1)
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(writing)
        .await
        .with_context(|| format!("cannot open {}", file.display()))
}

/// Memories are their owner's business: a directory that is made here lets nobody else in.
fn make_private_directory(directory: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}
