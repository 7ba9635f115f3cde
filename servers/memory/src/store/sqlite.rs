//! The embedded store: one SQLite file in the data directory, with FTS5 for the search.
//!
//! One task writes (`writer`), a pool of connections reads; in WAL mode neither waits for the other.
//! `synchronous = FULL` makes each commit reach the disk before it is acknowledged, so that neither
//! `kill -9` nor a power cut takes an acknowledged write. `NORMAL` would be enough for `kill -9` alone. On two
//! busy cores with a virtual disk it stores 10,000 memories a second from 64 callers and 3,900 from one,
//! `FULL` 5,500 from 64 and, as the disk is busy or not, 500 to 2,900 from one: that is worth its price.
//! Of 140,000 memories of 25 words, the best ten for a rare word are found in 0.4 ms, for eight words in
//! 7 ms; those of an agent that has 200 of them in 0.2 and 1 ms.

mod lock;
mod reads;
mod rows;
#[cfg(test)]
mod tests;
mod words;
mod writer;
mod writes;

use super::{Store, StoreError};
use crate::model::{
    Before, Filter, Found, History, Memory, Message, Page, Said, Search, Session, Statistics,
};
use crate::moment::Moment;
use anyhow::Context;
use lock::Lock;
use mcp_system_config::Pool;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{SqlSafeStr, Sqlite, SqlitePool};
use std::path::{Path, PathBuf};
use std::time::Duration;
use writer::Writer;
use writes::{Write, Written};

/// Every step from an empty file to the present tables, in order. A step that was released stays as it is.
const MIGRATIONS: [(i64, &str, &str); 1] =
    [(1, "memories and conversations", include_str!("sqlite/migrations/1_memories_and_conversations.sql"))];

/// An open store. Two on one directory are refused, in one process as in two.
#[derive(Debug)]
pub struct SqliteStore {
    file: PathBuf,
    readers: SqlitePool,
    writer: Writer,
    _lock: Lock,
}

impl SqliteStore {
    /// Opens the store in a directory, which is made if it is missing, and brings its tables up to date.
    pub async fn open(directory: &Path, pool: &Pool) -> anyhow::Result<Self> {
        make_private_directory(directory)
            .with_context(|| format!("cannot make the data directory {}", directory.display()))?;
        let lock = Lock::take(directory)?;
        let file = directory.join("memory.db");
        let any = SqliteConnectOptions::new()
            .filename(&file)
            .busy_timeout(Duration::from_secs(5))
            .foreign_keys(true)
            // A container's root is read-only: nothing may be spilled to a temporary file.
            .pragma("temp_store", "MEMORY");
        let writing = any
            .clone()
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            // A burst leaves a long log behind; this much of it is kept.
            .pragma("journal_size_limit", "67108864")
            .optimize_on_close(true, None);
        let writing = SqlitePoolOptions::new()
            .max_connections(1)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(writing)
            .await
            .with_context(|| format!("cannot open {}", file.display()))?;
        migrator()
            .run(&writing)
            .await
            .with_context(|| format!("cannot bring the tables of {} up to date", file.display()))?;
        let max = pool.max_size.max(1);
        let readers = SqlitePoolOptions::new()
            .min_connections(pool.min_size.min(max))
            .max_connections(max)
            .test_before_acquire(false)
            .idle_timeout(Duration::from_mins(1))
            .max_lifetime(None)
            .connect_lazy_with(any.pragma("query_only", "ON"));
        Ok(Self { file, readers, writer: Writer::start(writing), _lock: lock })
    }

    async fn reader(&self) -> Result<PoolConnection<Sqlite>, StoreError> {
        Ok(self.readers.acquire().await?)
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
    async fn insert_memory(&self, memory: Memory) -> Result<(), StoreError> {
        self.writer.write(Write::Memory(memory)).await.map(|_| ())
    }

    async fn search(&self, search: &Search) -> Result<Page<Found>, StoreError> {
        reads::search(&mut *self.reader().await?, search).await
    }

    async fn recent(&self, agent_id: &str, filter: &Filter, limit: u32) -> Result<Page<Memory>, StoreError> {
        reads::recent(&mut *self.reader().await?, agent_id, filter, limit).await
    }

    async fn insert_session(&self, session: Session) -> Result<(), StoreError> {
        self.writer.write(Write::Session(session)).await.map(|_| ())
    }

    async fn insert_message(&self, message: Message, open_end: Moment) -> Result<Said, StoreError> {
        match self.writer.write(Write::Message(message, open_end)).await? {
            Written::Said(said) => Ok(said),
            Written::Done => Err(StoreError::Closed),
        }
    }

    async fn history(
        &self,
        session_id: &str,
        before: Option<&Before>,
        limit: u32,
    ) -> Result<Option<History>, StoreError> {
        reads::history(&mut *self.reader().await?, session_id, before, limit).await
    }

    async fn statistics(&self, agent_id: Option<&str>, now: Moment) -> Result<Statistics, StoreError> {
        let statistics = reads::statistics(&mut *self.reader().await?, agent_id, now).await?;
        Ok(Statistics { store_bytes: self.bytes().await, ..statistics })
    }

    async fn check(&self) -> Result<(), StoreError> {
        if self.writer.is_closed() {
            return Err(StoreError::Closed);
        }
        sqlx::query("SELECT 1 FROM sessions LIMIT 1").execute(&mut *self.reader().await?).await?;
        Ok(())
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

fn migrator() -> Migrator {
    let migrations = MIGRATIONS.map(|(version, description, sql)| {
        Migration::new(version, description.into(), MigrationType::Simple, sql.into_sql_str(), false)
    });
    Migrator::with_migrations(migrations.into())
}

/// Memories are their owner's business: a directory that is made here lets nobody else in.
fn make_private_directory(directory: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}
