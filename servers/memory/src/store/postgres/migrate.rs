//! The tables, step by step, and back again by one.

use super::{Options, bounds, locks, login::login, pooler::explained};
use anyhow::{Context, bail};
use sqlx::{PgConnection, PgPool};

/// Every step from an empty database to the present tables: up, and down again. A step that was released stays as it
/// is.
const STEPS: [(&str, &str); 5] = [
    (include_str!("migrations/1_entries.up.sql"), include_str!("migrations/1_entries.down.sql")),
    (include_str!("migrations/2_search.up.sql"), include_str!("migrations/2_search.down.sql")),
    (include_str!("migrations/3_vector_index.up.sql"), include_str!("migrations/3_vector_index.down.sql")),
    (include_str!("migrations/4_moves.up.sql"), include_str!("migrations/4_moves.down.sql")),
    (include_str!("migrations/5_keys.up.sql"), include_str!("migrations/5_keys.down.sql")),
];

/// The version of the tables that this program works with.
pub const PRESENT: i32 = 5;

/// Brings the tables up to date. Several servers may do so at once.
pub(super) async fn bring_up_to_date(pool: &PgPool) -> anyhow::Result<()> {
    migrate_to(pool, PRESENT, Direction::Up).await
}

/// Takes the tables to a version: to the one before this program's, so that the program before it can be used again,
/// or forward. No server may use them meanwhile.
pub async fn migrate(options: &Options, version: i32) -> anyhow::Result<()> {
    if !(1..=PRESENT).contains(&version) {
        bail!("there is no version {version} of the tables; this program knows 1 to {PRESENT}");
    }
    let login = login(&options.url, options.password.as_deref())?;
    let pool = PgPool::connect_with(login).await.context("the database cannot be reached")?;
    let migrated = migrate_to(&pool, version, Direction::Any).await;
    pool.close().await;
    migrated
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Any,
}

async fn migrate_to(pool: &PgPool, version: i32, direction: Direction) -> anyhow::Result<()> {
    let mut connection = pool.acquire().await.context("the database cannot be reached")?;
    // All or nothing: PostgreSQL's changes of tables belong to a transaction.
    let mut transaction = bounds::begin_unbound(&mut connection).await?;
    let lock = sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(locks::MIGRATION);
    lock.execute(&mut *transaction).await.map_err(explained)?;
    let mut now = present(&mut transaction).await?;
    if now > PRESENT {
        bail!(
            "the tables have version {now}, and this program knows up to {PRESENT}: use the program that made them, \
             or let that one take them back first (mcp-system memory migrate --postgres --to {PRESENT})"
        );
    }
    while now < version {
        step(&mut transaction, STEPS[usize::try_from(now)?].0, now + 1).await?;
        now += 1;
    }
    while now > version && direction == Direction::Any {
        step(&mut transaction, STEPS[usize::try_from(now - 1)?].1, now - 1).await?;
        now -= 1;
    }
    transaction.commit().await?;
    Ok(())
}

/// The version of the tables that are there; 0 for none.
async fn present(connection: &mut PgConnection) -> anyhow::Result<i32> {
    let there: bool = sqlx::query_scalar("SELECT to_regclass('mcp_memory.migration') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await?;
    if there {
        return Ok(sqlx::query_scalar("SELECT version FROM mcp_memory.migration")
            .fetch_one(connection)
            .await?);
    }
    let made = "CREATE SCHEMA IF NOT EXISTS mcp_memory;
        CREATE TABLE mcp_memory.migration (version integer NOT NULL);
        INSERT INTO mcp_memory.migration VALUES (0)";
    sqlx::raw_sql(made)
        .execute(connection)
        .await
        .context("this user may not make a schema in the database")?;
    Ok(0)
}

async fn step(connection: &mut PgConnection, sql: &'static str, version: i32) -> anyhow::Result<()> {
    sqlx::raw_sql(sql)
        .execute(&mut *connection)
        .await
        .with_context(|| format!("the tables cannot be taken to version {version}"))?;
    sqlx::query("UPDATE mcp_memory.migration SET version = $1").bind(version).execute(connection).await?;
    Ok(())
}
