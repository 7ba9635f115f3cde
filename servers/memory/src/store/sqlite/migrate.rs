//! The tables, step by step, and back again by one.

use super::{Lock, Options, file_in, open_to_write};
use crate::model::ContentHash;
use anyhow::{Context, bail};
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{Row, SqlSafeStr, SqlitePool};
use std::path::Path;

/// Every step from an empty file to the present tables, in order. A step that was released stays as it is.
const MIGRATIONS: [(i64, MigrationType, &str, &str); 5] = [
    (
        1,
        MigrationType::Simple,
        "memories and conversations",
        include_str!("migrations/1_memories_and_conversations.sql"),
    ),
    (
        2,
        MigrationType::ReversibleUp,
        "scopes and entries",
        include_str!("migrations/2_scopes_and_entries.up.sql"),
    ),
    (
        2,
        MigrationType::ReversibleDown,
        "scopes and entries",
        include_str!("migrations/2_scopes_and_entries.down.sql"),
    ),
    (3, MigrationType::ReversibleUp, "keys", include_str!("migrations/3_keys.up.sql")),
    (3, MigrationType::ReversibleDown, "keys", include_str!("migrations/3_keys.down.sql")),
];

/// The version of the tables that this program works with.
const PRESENT: i64 = 3;
/// The first version that it can go back to.
const FIRST: i64 = 1;
/// The first version whose contents have hashes.
const HASHED: i64 = 2;

/// Rows whose hashes are computed in one transaction.
const HASHES: u32 = 1000;

fn migrator() -> Migrator {
    let migrations = MIGRATIONS.map(|(version, kind, description, sql)| {
        Migration::new(version, description.into(), kind, sql.into_sql_str(), false)
    });
    Migrator::with_migrations(migrations.into())
}

/// Gives an empty file the tables of an earlier version.
#[cfg(test)]
pub(super) async fn migrate_new_to(pool: &SqlitePool, version: i64) {
    migrator().run_to(version, pool).await.expect("migrates");
}

pub(super) async fn bring_up_to_date(pool: &SqlitePool) -> anyhow::Result<()> {
    match migrator().run(pool).await {
        Err(MigrateError::VersionMissing(version)) => bail!(
            "they have version {version}, and this program knows up to {PRESENT}: use the program that made them, \
             or let that one take them back first (mcp-system memory migrate --data DIR --to {PRESENT})"
        ),
        migrated => migrated?,
    }
    compute_hashes(pool).await
}

/// Takes the tables of the store in a directory, which no server may use meanwhile, to a version: to the one
/// before this program's, so that the program before it can be used again, or forward.
pub async fn migrate(directory: &Path, version: i64) -> anyhow::Result<()> {
    if !(FIRST..=PRESENT).contains(&version) {
        bail!("there is no version {version} of the tables; this program knows {FIRST} to {PRESENT}");
    }
    let file = file_in(directory);
    if !file.exists() {
        bail!("there is no store in {}", directory.display());
    }
    let _lock = Lock::take(directory)?;
    let pool = open_to_write(&file, &Options::default()).await?;
    let migrated = async {
        migrator().undo(&pool, version).await?;
        migrator().run_to(version, &pool).await?;
        if version >= HASHED {
            compute_hashes(&pool).await?;
        }
        anyhow::Ok(())
    };
    let migrated = migrated.await;
    pool.close().await;
    migrated.with_context(|| format!("cannot take the tables of {} to version {version}", file.display()))
}

/// SQL cannot compute the hashes of contents: the step that made room for them left marks.
async fn compute_hashes(pool: &SqlitePool) -> anyhow::Result<()> {
    loop {
        let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
        let rows = sqlx::query(
            "SELECT number, content FROM entries INDEXED BY entries_without_hash WHERE hash = x'00' LIMIT ?",
        )
        .bind(HASHES)
        .fetch_all(&mut *transaction)
        .await?;
        if rows.is_empty() {
            return Ok(());
        }
        for row in rows {
            let ContentHash(hash) = ContentHash::of(row.try_get("content")?);
            sqlx::query("UPDATE entries SET hash = ? WHERE number = ?")
                .bind(hash.as_slice())
                .bind(row.try_get::<i64, _>("number")?)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
    }
}
