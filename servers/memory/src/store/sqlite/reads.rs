//! The statements that read. Each takes one connection of the readers' pool.

use super::super::StoreError;
use super::rows;
use super::words::match_expression;
use crate::model::{Before, Filter, Found, History, Memory, Page, Search, Statistics};
use crate::moment::Moment;
use futures::{Stream, TryStreamExt};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};
use std::pin::pin;

/// Bytes after which a page ends early: a hundred memories may hold more than a server should.
const MAX_PAGE_BYTES: usize = 4 << 20;

/// How much a word counts in the content and in the context of a memory.
const RANK: &str = "bm25(memories_fts, 1.0, 0.5)";

const MEMORY: &str = "m.id, m.session_id, m.memory_type, m.content, m.context, m.importance, m.created_at";

/// The best memories of one agent. They are ranked by number alone, and only the best are read in full.
pub(super) async fn search(
    connection: &mut SqliteConnection,
    search: &Search,
) -> Result<Page<Found>, StoreError> {
    let nothing = Page { items: Vec::new(), truncated: false };
    let Some(expression) = match_expression(&search.query) else { return Ok(nothing) };
    let Some(agent) = rows::agent_number(&mut *connection, &search.agent_id).await? else {
        return Ok(nothing);
    };
    let mut query = QueryBuilder::<Sqlite>::new("WITH best AS (SELECT f.rowid AS number, ");
    query.push(RANK).push(" AS rank FROM memories_fts AS f");
    if search.filter != Filter::default() {
        query.push(" JOIN memories AS m ON m.number = f.rowid");
    }
    query.push(" WHERE memories_fts MATCH ").push_bind(expression);
    push_range(&mut query, "f.rowid", agent);
    push_filter(&mut query, &search.filter);
    query.push(" ORDER BY rank, f.rowid DESC LIMIT ").push_bind(search.limit);
    query.push(") SELECT ").push(MEMORY).push(
        ", best.rank AS rank FROM best JOIN memories AS m ON m.number = best.number
         ORDER BY best.rank, m.number DESC",
    );
    let found = |row: SqliteRow| {
        let rank: f64 = row.try_get("rank")?;
        Ok(Found { memory: rows::memory(&row, &search.agent_id)?, score: -rank })
    };
    page(query.build().fetch(connection), found, |found| found.memory.weight()).await
}

/// The newest memories of one agent.
pub(super) async fn recent(
    connection: &mut SqliteConnection,
    agent_id: &str,
    filter: &Filter,
    limit: u32,
) -> Result<Page<Memory>, StoreError> {
    let Some(agent) = rows::agent_number(&mut *connection, agent_id).await? else {
        return Ok(Page { items: Vec::new(), truncated: false });
    };
    let mut query = QueryBuilder::<Sqlite>::new("SELECT ");
    query.push(MEMORY).push(" FROM memories AS m WHERE true");
    push_range(&mut query, "m.number", agent);
    if filter.memory_type.is_some() {
        // Makes the index of types usable. Without a type it would be used too, for a sort of everything.
        query.push(" AND m.agent = ").push_bind(agent);
    }
    push_filter(&mut query, filter);
    query.push(" ORDER BY m.number DESC LIMIT ").push_bind(limit);
    page(query.build().fetch(connection), |row| rows::memory(&row, agent_id), Memory::weight).await
}

/// The newest messages of a session.
pub(super) async fn history(
    connection: &mut SqliteConnection,
    session_id: &str,
    before: Option<&Before>,
    limit: u32,
) -> Result<Option<History>, StoreError> {
    let Some((number, session)) = rows::session(&mut *connection, session_id).await? else {
        return Ok(None);
    };
    let mut query = QueryBuilder::<Sqlite>::new(
        "SELECT id, agent_id, user_id, role, message, created_at FROM messages WHERE session = ",
    );
    query.push_bind(number);
    match before {
        None => {}
        Some(Before::Moment(moment)) => {
            query.push(" AND created_at < ").push_bind(moment.0);
        }
        Some(Before::Message(id)) => {
            let of_message: Option<i64> =
                sqlx::query_scalar("SELECT number FROM messages WHERE session = ? AND id = ?")
                    .bind(number)
                    .bind(id)
                    .fetch_optional(&mut *connection)
                    .await?;
            let Some(of_message) = of_message else {
                return Err(StoreError::UnknownMessage {
                    session_id: session_id.to_owned(),
                    message_id: id.clone(),
                });
            };
            query.push(" AND number < ").push_bind(of_message);
        }
    }
    query.push(" ORDER BY number DESC LIMIT ").push_bind(limit);
    let rows = query.build().fetch(connection);
    let mut messages =
        page(rows, |row| rows::message(&row, session_id), |message| message.message.len() + 256).await?;
    messages.items.reverse();
    Ok(Some(History { session, messages }))
}

/// Counts; `store_bytes` stays 0, for it is no statement's business.
pub(super) async fn statistics(
    connection: &mut SqliteConnection,
    agent_id: Option<&str>,
    now: Moment,
) -> Result<Statistics, StoreError> {
    let by_type = sqlx::query(
        "SELECT memory_type, count(*) AS count FROM memories
         WHERE ?1 IS NULL OR agent = (SELECT number FROM agents WHERE agent_id = ?1)
         GROUP BY memory_type",
    )
    .bind(agent_id)
    .fetch_all(&mut *connection)
    .await?;
    let memories_by_type = by_type
        .iter()
        .map(|row| Ok((row.try_get("memory_type")?, count(row, "count")?)))
        .collect::<Result<std::collections::BTreeMap<String, u64>, sqlx::Error>>()?;
    // An agent's first and last memory are found by their numbers, without a look at those between.
    let row = sqlx::query(
        "SELECT
            (SELECT count(*) FROM messages WHERE ?1 IS NULL OR agent_id = ?1) AS messages,
            (SELECT count(DISTINCT session) FROM messages WHERE ?1 IS NULL OR agent_id = ?1) AS conversations,
            (SELECT count(*) FROM sessions WHERE ?1 IS NULL OR agent_id = ?1) AS sessions,
            (SELECT count(*) FROM sessions WHERE (?1 IS NULL OR agent_id = ?1) AND expires_at > ?2) AS active,
            (SELECT min((SELECT created_at FROM memories
                         WHERE number BETWEEN a.number << 40 AND (a.number + 1 << 40) - 1
                         ORDER BY number LIMIT 1))
             FROM agents AS a WHERE ?1 IS NULL OR a.agent_id = ?1) AS oldest,
            (SELECT max((SELECT created_at FROM memories
                         WHERE number BETWEEN a.number << 40 AND (a.number + 1 << 40) - 1
                         ORDER BY number DESC LIMIT 1))
             FROM agents AS a WHERE ?1 IS NULL OR a.agent_id = ?1) AS newest",
    )
    .bind(agent_id)
    .bind(now.0)
    .fetch_one(connection)
    .await?;
    Ok(Statistics {
        memories: memories_by_type.values().sum(),
        memories_by_type,
        conversations: count(&row, "conversations")?,
        messages: count(&row, "messages")?,
        sessions: count(&row, "sessions")?,
        active_sessions: count(&row, "active")?,
        oldest_memory: row.try_get::<Option<i64>, _>("oldest")?.map(Moment),
        newest_memory: row.try_get::<Option<i64>, _>("newest")?.map(Moment),
        store_bytes: 0,
    })
}

fn count(row: &SqliteRow, column: &str) -> Result<u64, sqlx::Error> {
    row.try_get::<i64, _>(column).map(i64::unsigned_abs)
}

/// Restricts a number to those of one agent's memories.
fn push_range(query: &mut QueryBuilder<Sqlite>, column: &str, agent: i64) {
    query.push(" AND ").push(column).push(" BETWEEN ").push_bind(agent << 40);
    query.push(" AND ").push_bind(((agent + 1) << 40) - 1);
}

fn push_filter(query: &mut QueryBuilder<Sqlite>, filter: &Filter) {
    let Filter { memory_type, session_id, min_importance, since, until } = filter;
    if let Some(memory_type) = memory_type {
        query.push(" AND m.memory_type = ").push_bind(memory_type);
    }
    if let Some(session_id) = session_id {
        query.push(" AND m.session_id = ").push_bind(session_id);
    }
    if let Some(importance) = min_importance {
        query.push(" AND m.importance >= ").push_bind(importance);
    }
    if let Some(since) = since {
        query.push(" AND m.created_at >= ").push_bind(since.0);
    }
    if let Some(until) = until {
        query.push(" AND m.created_at < ").push_bind(until.0);
    }
}

/// Takes rows until they are too heavy; the first is always taken.
async fn page<T>(
    rows: impl Stream<Item = Result<SqliteRow, sqlx::Error>>,
    read: impl Fn(SqliteRow) -> Result<T, sqlx::Error>,
    weight: impl Fn(&T) -> usize,
) -> Result<Page<T>, StoreError> {
    let mut rows = pin!(rows);
    let mut page = Page { items: Vec::new(), truncated: false };
    let mut bytes = 0;
    while let Some(row) = rows.try_next().await? {
        let item = read(row)?;
        bytes += weight(&item);
        if bytes > MAX_PAGE_BYTES && !page.items.is_empty() {
            page.truncated = true;
            break;
        }
        page.items.push(item);
    }
    Ok(page)
}
