//! The statements that read. Each takes one connection of the readers' pool.

use super::places::Place;
use super::rows::{self, ENTRY, INDEXED, SESSION, TOGETHER};
use crate::model::{
    Before, Change, Changes, Entry, Filter, History, Indexed, Kept, Key, Kind, Page, Scope, Session,
    Statistics,
};
use crate::moment::Moment;
use crate::store::page::page;
use crate::store::{REMEMBERED_CHANGES, StoreError, Unembedded};
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Connection, QueryBuilder, Row, Sqlite, SqliteConnection};

/// An entry by its id.
pub(super) async fn get(
    connection: &mut SqliteConnection,
    place: Place,
    id: &str,
) -> Result<Option<Kept>, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new("SELECT ");
    query.push(ENTRY).push(" FROM entries AS e WHERE e.scope = ").push_bind(place.scope);
    query.push(" AND e.id = ").push_bind(id);
    let row = query.build().fetch_optional(connection).await?;
    Ok(row.as_ref().map(rows::kept).transpose()?)
}

/// Entries of a scope that somebody asks for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    scope: i64,
    numbers: Vec<i64>,
}

impl Asked {
    /// Numbers of other scopes lie outside of the range of this one.
    pub(super) fn of(place: Place, numbers: &[u64]) -> Self {
        let inside = |number: &i64| (place.floor()..=place.ceiling()).contains(number);
        let numbers = numbers.iter().map(|number| number.cast_signed()).filter(inside).collect();
        Self { scope: place.scope, numbers }
    }

    /// How many they are at the most.
    pub(super) const fn count(&self) -> usize {
        self.numbers.len()
    }
}

/// Entries by their numbers, for some that ask, in their order. Somebody asks for one at least.
pub(super) async fn get_many(
    connection: &mut SqliteConnection,
    asked: &[&Asked],
) -> Result<Vec<Vec<Kept>>, StoreError> {
    let count: usize = asked.iter().map(|asked| asked.count()).sum();
    // Lists of a few lengths, filled up with what is nowhere: each connection keeps every text as a statement of its own.
    let length = if count <= 50 { count.next_multiple_of(5) } else { count.next_power_of_two() };
    // Looked up one after the other; for `number IN (...)` SQLite would make a table of its own first. The plus keeps it from
    // an index that begins with the scope: it would go through all of it for a few numbers.
    let text = format!(
        "SELECT {TOGETHER} FROM (VALUES {}) AS wanted CROSS JOIN entries AS e ON e.number = wanted.column1 \
         WHERE e.archived_at IS NULL AND +e.scope = wanted.column2",
        vec!["(?, ?, ?)"; length].join(", ")
    );
    let mut query = sqlx::query::<Sqlite>(AssertSqlSafe(text));
    for (whose, asked) in (0_i64..).zip(asked) {
        for number in &asked.numbers {
            query = query.bind(*number).bind(asked.scope).bind(whose);
        }
    }
    for _ in count..length {
        query = query.bind(None::<i64>).bind(None::<i64>).bind(None::<i64>);
    }
    let row = query.fetch_one(connection).await?;
    let mut answers = vec![Vec::new(); asked.len()];
    for (whose, kept) in rows::together(row.try_get(0)?)? {
        answers[whose].push(kept);
    }
    Ok(answers)
}

/// The newest entries of a scope.
pub(super) async fn recent(
    connection: &mut SqliteConnection,
    place: Place,
    filter: &Filter,
    limit: u32,
) -> Result<Page<Entry>, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new("SELECT ");
    query.push(ENTRY).push(" FROM entries AS e WHERE e.archived_at IS NULL");
    push_range(&mut query, place);
    if filter.memory_type.is_some() || filter.session_id.is_some() {
        // Makes the indexes of types and of sessions usable. Without need they would be used too, for a sort of everything.
        query.push(" AND e.scope = ").push_bind(place.scope);
    }
    push_filter(&mut query, filter);
    query.push(" ORDER BY e.number DESC LIMIT +").push_bind(limit);
    Ok(page(query.build().fetch(connection), rows::entry).await?)
}

/// A session.
pub(super) async fn session(
    connection: &mut SqliteConnection,
    place: Place,
    id: &str,
) -> Result<Option<Session>, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new("SELECT ");
    query.push(SESSION).push(" FROM sessions WHERE scope = ").push_bind(place.scope);
    query.push(" AND id = ").push_bind(id);
    let row = query.build().fetch_optional(connection).await?;
    Ok(row.as_ref().map(rows::session).transpose()?)
}

/// The newest messages of a session.
pub(super) async fn history(
    connection: &mut SqliteConnection,
    place: Place,
    session_id: &str,
    before: Option<&Before>,
    limit: u32,
) -> Result<Option<History>, StoreError> {
    let Some(session) = session(&mut *connection, place, session_id).await? else { return Ok(None) };
    let mut query = QueryBuilder::<Sqlite>::new("SELECT ");
    query
        .push(ENTRY)
        .push(" FROM entries AS e WHERE e.role IS NOT NULL AND e.archived_at IS NULL AND e.scope = ");
    query.push_bind(place.scope).push(" AND e.session_id = ").push_bind(session_id);
    match before {
        None => {}
        Some(Before::Moment(moment)) => {
            query.push(" AND e.created_at < ").push_bind(moment.0);
        }
        Some(Before::Message(id)) => {
            let number: Option<i64> = sqlx::query_scalar(
                "SELECT number FROM entries WHERE scope = ? AND id = ? AND session_id = ? AND role IS NOT NULL",
            )
            .bind(place.scope)
            .bind(id)
            .bind(session_id)
            .fetch_optional(&mut *connection)
            .await?;
            let Some(number) = number else {
                return Err(StoreError::UnknownMessage {
                    session_id: session_id.to_owned(),
                    message_id: id.clone(),
                });
            };
            query.push(" AND e.number < ").push_bind(number);
        }
    }
    query.push(" ORDER BY e.number DESC LIMIT +").push_bind(limit);
    let mut messages = page(query.build().fetch(connection), rows::entry).await?;
    messages.items.reverse();
    Ok(Some(History { session, messages }))
}

/// See [`crate::store::Store::agents_with_session`].
pub(super) async fn agents_with_session(
    connection: &mut SqliteConnection,
    tenant: &str,
    session_id: &str,
    limit: u32,
) -> Result<Vec<String>, StoreError> {
    let agents = sqlx::query_scalar(
        "SELECT s.agent_id FROM sessions AS o JOIN scopes AS s ON s.number = o.scope
         WHERE o.id = ? AND s.tenant = ? ORDER BY s.agent_id LIMIT +?",
    )
    .bind(session_id)
    .bind(tenant)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    Ok(agents)
}

/// The changes after a version. Entries and deletions are read from one state of the file.
pub(super) async fn changes_since(
    connection: &mut SqliteConnection,
    scope: &Scope,
    version: u64,
    model: Option<&str>,
    limit: u32,
) -> Result<Changes, StoreError> {
    let mut snapshot = connection.begin().await?;
    let Some(place) = super::places::read(&mut snapshot, scope).await? else {
        return Ok(if version == 0 { Changes::Next(Vec::new()) } else { Changes::Reload });
    };
    let now = place.version.cast_unsigned();
    if version > now || now - version > REMEMBERED_CHANGES {
        return Ok(Changes::Reload);
    }
    let mut query = QueryBuilder::<Sqlite>::new("SELECT e.archived_at, ");
    query
        .push(INDEXED)
        .push(" FROM entries AS e LEFT JOIN vectors AS v ON v.number = e.number AND v.model = ");
    query.push_bind(model).push(" WHERE e.scope = ").push_bind(place.scope);
    query.push(" AND e.version > ").push_bind(version.cast_signed());
    query.push(" ORDER BY e.version LIMIT +").push_bind(limit);
    let mut changes = Vec::new();
    for row in query.build().fetch_all(&mut *snapshot).await? {
        changes.push(if row.try_get::<Option<i64>, _>("archived_at")?.is_some() {
            Change::Gone {
                number: rows::unsigned(&row, "number")?,
                version: rows::unsigned(&row, "version")?,
            }
        } else {
            Change::Put(Box::new(rows::indexed(&row)?))
        });
    }
    let gone = sqlx::query(
        "SELECT number, version FROM tombstones WHERE scope = ? AND version > ? ORDER BY version LIMIT +?",
    )
    .bind(place.scope)
    .bind(version.cast_signed())
    .bind(limit)
    .fetch_all(&mut *snapshot)
    .await?;
    for row in gone {
        changes.push(Change::Gone {
            number: rows::unsigned(&row, "number")?,
            version: rows::unsigned(&row, "version")?,
        });
    }
    changes.sort_unstable_by_key(Change::version);
    changes.truncate(limit as usize);
    Ok(Changes::Next(changes))
}

/// The entries after a number, for an index.
pub(super) async fn load(
    connection: &mut SqliteConnection,
    place: Place,
    after: u64,
    model: Option<&str>,
    limit: u32,
) -> Result<Vec<Indexed>, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new("SELECT ");
    query
        .push(INDEXED)
        .push(" FROM entries AS e LEFT JOIN vectors AS v ON v.number = e.number AND v.model = ");
    query.push_bind(model).push(" WHERE e.archived_at IS NULL AND e.number > ").push_bind(place.after(after));
    query.push(" AND e.number <= ").push_bind(place.ceiling());
    query.push(" ORDER BY e.number LIMIT +").push_bind(limit);
    let rows = query.build().fetch_all(connection).await?;
    Ok(rows.iter().map(rows::indexed).collect::<Result<_, _>>()?)
}

/// How many entries are there, from the smallest index that can tell.
pub(super) async fn size(connection: &mut SqliteConnection, place: Place) -> Result<u64, StoreError> {
    let count: i64 =
        sqlx::query_scalar("SELECT count(*) FROM entries WHERE scope = ? AND archived_at IS NULL")
            .bind(place.scope)
            .fetch_one(connection)
            .await?;
    Ok(count.cast_unsigned())
}

/// See [`crate::store::Store::unembedded`].
pub(super) async fn unembedded(
    connection: &mut SqliteConnection,
    model: &str,
    after: u64,
    limit: u32,
) -> Result<Vec<Unembedded>, StoreError> {
    let rows = sqlx::query(
        "SELECT e.number, e.version, e.content, s.tenant, s.agent_id
         FROM entries AS e JOIN scopes AS s ON s.number = e.scope
         LEFT JOIN vectors AS v ON v.number = e.number AND v.model = ?
         WHERE e.number > ? AND e.archived_at IS NULL AND v.number IS NULL ORDER BY e.number LIMIT +?",
    )
    .bind(model)
    .bind(after.cast_signed())
    .bind(limit)
    .fetch_all(connection)
    .await?;
    let unembedded = rows.iter().map(|row| {
        let number = rows::unsigned(row, "number")?;
        Ok(Unembedded {
            cursor: number,
            scope: Scope::new(row.try_get::<&str, _>("tenant")?, row.try_get::<&str, _>("agent_id")?),
            number,
            version: rows::unsigned(row, "version")?,
            content: row.try_get("content")?,
        })
    });
    Ok(unembedded.collect::<Result<_, sqlx::Error>>()?)
}

/// Counts; `store_bytes` is left out, for it is no statement's business.
pub(super) async fn statistics(
    connection: &mut SqliteConnection,
    tenant: &str,
    agent_id: Option<&str>,
    now: Moment,
) -> Result<Statistics, StoreError> {
    const SCOPES: &str = "(SELECT number FROM scopes WHERE tenant = ?1 AND (?2 IS NULL OR agent_id = ?2))";
    let mut query =
        QueryBuilder::<Sqlite>::new("SELECT memory_type, count(*) AS count FROM entries WHERE scope IN ");
    query.push(SCOPES).push(" AND archived_at IS NULL AND role IS NULL GROUP BY memory_type");
    let by_type = query.build().bind(tenant).bind(agent_id).fetch_all(&mut *connection).await?;
    let memories_by_type = by_type
        .iter()
        .map(|row| Ok((row.try_get("memory_type")?, rows::unsigned(row, "count")?)))
        .collect::<Result<std::collections::BTreeMap<String, u64>, sqlx::Error>>()?;
    let mut query = QueryBuilder::<Sqlite>::new("WITH mine AS ");
    query.push(SCOPES).push(
        " SELECT
            (SELECT count(*) FROM entries
             WHERE scope IN mine AND archived_at IS NULL AND role IS NOT NULL) AS messages,
            (SELECT count(*) FROM entries
             WHERE scope IN mine AND archived_at IS NOT NULL AND role IS NULL) AS archived,
            (SELECT count(*) FROM sessions AS o WHERE scope IN mine AND EXISTS
                (SELECT 1 FROM entries AS e WHERE e.scope = o.scope AND e.session_id = o.id
                 AND e.role IS NOT NULL)) AS conversations,
            (SELECT count(*) FROM sessions WHERE scope IN mine) AS sessions,
            (SELECT count(*) FROM sessions WHERE scope IN mine AND expires_at > ?3) AS active,
            (SELECT min(created_at) FROM entries
             WHERE scope IN mine AND archived_at IS NULL AND role IS NULL) AS oldest,
            (SELECT max(created_at) FROM entries
             WHERE scope IN mine AND archived_at IS NULL AND role IS NULL) AS newest",
    );
    let row = query.build().bind(tenant).bind(agent_id).bind(now.0).fetch_one(connection).await?;
    Ok(Statistics {
        memories: memories_by_type.values().sum(),
        memories_by_type,
        archived_memories: rows::unsigned(&row, "archived")?,
        conversations: rows::unsigned(&row, "conversations")?,
        messages: rows::unsigned(&row, "messages")?,
        sessions: rows::unsigned(&row, "sessions")?,
        active_sessions: rows::unsigned(&row, "active")?,
        oldest_memory: row.try_get::<Option<i64>, _>("oldest")?.map(Moment),
        newest_memory: row.try_get::<Option<i64>, _>("newest")?.map(Moment),
        store_bytes: None,
    })
}

/// The scopes after one of them.
pub(super) async fn scopes(
    connection: &mut SqliteConnection,
    after: Option<&Scope>,
    limit: u32,
) -> Result<Vec<Scope>, StoreError> {
    let (tenant, agent) = after.map_or(("", ""), |scope| (&*scope.tenant, &*scope.agent_id));
    let rows = sqlx::query(
        "SELECT tenant, agent_id FROM scopes WHERE (tenant, agent_id) > (?, ?) ORDER BY tenant, agent_id LIMIT +?",
    )
    .bind(tenant)
    .bind(agent)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    read_scopes(&rows)
}

/// The scopes that were last written to.
pub(super) async fn recent_scopes(
    connection: &mut SqliteConnection,
    tenant: Option<&str>,
    limit: u32,
) -> Result<Vec<Scope>, StoreError> {
    let rows = sqlx::query(
        "SELECT tenant, agent_id FROM scopes WHERE ?1 IS NULL OR tenant = ?1 ORDER BY written_at DESC LIMIT +?2",
    )
    .bind(tenant)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    read_scopes(&rows)
}

fn read_scopes(rows: &[SqliteRow]) -> Result<Vec<Scope>, StoreError> {
    let scopes = rows
        .iter()
        .map(|row| Ok(Scope::new(row.try_get::<&str, _>("tenant")?, row.try_get::<&str, _>("agent_id")?)));
    Ok(scopes.collect::<Result<_, sqlx::Error>>()?)
}

/// Everything of a scope after a number, with the idempotency keys.
pub(super) async fn export_entries(
    connection: &mut SqliteConnection,
    place: Place,
    after: u64,
    limit: u32,
) -> Result<Vec<(Kept, Option<Key>)>, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new("SELECT e.idempotency_key, e.key_hash, ");
    query.push(ENTRY).push(" FROM entries AS e WHERE e.number > ").push_bind(place.after(after));
    query.push(" AND e.number <= ").push_bind(place.ceiling());
    query.push(" ORDER BY e.number LIMIT +").push_bind(limit);
    let rows = query.build().fetch_all(connection).await?;
    let entries = rows.iter().map(|row| Ok((rows::kept(row)?, rows::key(row)?)));
    Ok(entries.collect::<Result<_, sqlx::Error>>()?)
}

/// The sessions of a scope after an id.
pub(super) async fn export_sessions(
    connection: &mut SqliteConnection,
    place: Place,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<Session>, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new("SELECT ");
    query.push(SESSION).push(" FROM sessions WHERE scope = ").push_bind(place.scope);
    query.push(" AND id > ").push_bind(after.unwrap_or_default());
    query.push(" ORDER BY id LIMIT +").push_bind(limit);
    let rows = query.build().fetch_all(connection).await?;
    Ok(rows.iter().map(rows::session).collect::<Result<_, _>>()?)
}

/// Restricts to the entries of one scope.
fn push_range(query: &mut QueryBuilder<Sqlite>, place: Place) {
    query.push(" AND e.number BETWEEN ").push_bind(place.floor()).push(" AND ").push_bind(place.ceiling());
}

fn push_filter(query: &mut QueryBuilder<Sqlite>, filter: &Filter) {
    let Filter { kind, memory_type, session_id, min_importance, since, until } = filter;
    match kind {
        None => {}
        Some(Kind::Memory) => {
            query.push(" AND e.role IS NULL");
        }
        Some(Kind::Message) => {
            query.push(" AND e.role IS NOT NULL");
        }
    }
    if let Some(memory_type) = memory_type {
        query.push(" AND e.memory_type = ").push_bind(memory_type.clone());
    }
    if let Some(session_id) = session_id {
        query.push(" AND e.session_id = ").push_bind(session_id.clone());
    }
    if let Some(importance) = min_importance {
        query.push(" AND e.importance >= ").push_bind(*importance);
    }
    if let Some(since) = since {
        query.push(" AND e.created_at >= ").push_bind(since.0);
    }
    if let Some(until) = until {
        query.push(" AND e.created_at < ").push_bind(until.0);
    }
}
