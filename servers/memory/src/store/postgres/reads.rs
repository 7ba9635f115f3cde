//! The statements that read. Each takes one connection of the pool.

use super::access::Trouble;
use super::bounds;
use super::rows::{self, ENTRY, INDEXED, SESSION};
use super::text::kept;
use super::turn::range;
use crate::model::{
    Before, Change, Changes, Entry, Filter, History, Indexed, Kept, Key, Kind, Page, Scope, Session,
    Statistics,
};
use crate::moment::Moment;
use crate::store::page::page;
use crate::store::{REMEMBERED_CHANGES, StoreError, Unembedded};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Postgres, QueryBuilder, Row};

/// A scope that exists.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) scope: i64,
    pub(super) version: i64,
}

/// Where a scope stands; `None` when nothing was ever stored in it.
pub(super) async fn place(
    connection: &mut PgConnection,
    scope: &Scope,
) -> Result<Option<Place>, sqlx::Error> {
    let row =
        sqlx::query("SELECT number, version FROM mcp_memory.scopes WHERE tenant = $1 AND agent_id = $2")
            .bind(kept(&scope.tenant))
            .bind(kept(&scope.agent_id))
            .fetch_optional(connection)
            .await?;
    row.map(|row| Ok(Place { scope: row.try_get("number")?, version: row.try_get("version")? })).transpose()
}

/// An entry by its id.
pub(super) async fn get(
    connection: &mut PgConnection,
    place: Place,
    id: &str,
) -> Result<Option<Kept>, Trouble> {
    let mut query = QueryBuilder::<Postgres>::new("SELECT ");
    query.push(ENTRY).push(" FROM mcp_memory.entries AS e WHERE e.scope = ").push_bind(place.scope);
    query.push(" AND e.id = ").push_bind(kept(id));
    let row = query.build().fetch_optional(connection).await?;
    Ok(row.as_ref().map(rows::kept).transpose()?)
}

/// Entries by their numbers.
pub(super) async fn get_many(
    connection: &mut PgConnection,
    place: Place,
    numbers: &[u64],
) -> Result<Vec<Kept>, Trouble> {
    let numbers: Vec<i64> = numbers.iter().map(|number| number.cast_signed()).collect();
    let mut query = QueryBuilder::<Postgres>::new("SELECT ");
    query.push(ENTRY).push(" FROM mcp_memory.entries AS e WHERE e.archived_at IS NULL AND e.scope = ");
    query.push_bind(place.scope).push(" AND e.number = ANY(").push_bind(numbers).push(")");
    let rows = query.build().fetch_all(connection).await?;
    Ok(rows::all(&rows, rows::kept)?)
}

/// The newest entries of a scope.
pub(super) async fn recent(
    connection: &mut PgConnection,
    place: Place,
    filter: &Filter,
    limit: u32,
) -> Result<Page<Entry>, Trouble> {
    let mut query = QueryBuilder::<Postgres>::new("SELECT ");
    query.push(ENTRY).push(" FROM mcp_memory.entries AS e WHERE e.archived_at IS NULL");
    push_range(&mut query, place);
    push_filter(&mut query, filter);
    query.push(" ORDER BY e.number DESC LIMIT ").push_bind(i64::from(limit));
    let mut bounded = bounds::begin(connection, "READ ONLY").await?;
    Ok(page(query.build().fetch(&mut *bounded), rows::entry).await?)
}

/// A session.
pub(super) async fn session(
    connection: &mut PgConnection,
    place: Place,
    id: &str,
) -> Result<Option<Session>, Trouble> {
    let mut query = QueryBuilder::<Postgres>::new("SELECT ");
    query.push(SESSION).push(" FROM mcp_memory.sessions WHERE scope = ").push_bind(place.scope);
    query.push(" AND id = ").push_bind(kept(id));
    let row = query.build().fetch_optional(connection).await?;
    Ok(row.as_ref().map(rows::session).transpose()?)
}

/// The newest messages of a session.
pub(super) async fn history(
    connection: &mut PgConnection,
    place: Place,
    session_id: &str,
    before: Option<&Before>,
    limit: u32,
) -> Result<Option<History>, Trouble> {
    let Some(session) = session(&mut *connection, place, session_id).await? else { return Ok(None) };
    let mut query = QueryBuilder::<Postgres>::new("SELECT ");
    query.push(ENTRY).push(
        " FROM mcp_memory.entries AS e WHERE e.role IS NOT NULL AND e.archived_at IS NULL AND e.scope = ",
    );
    query.push_bind(place.scope).push(" AND e.session_id = ").push_bind(kept(session_id));
    match before {
        None => {}
        Some(Before::Moment(moment)) => {
            query.push(" AND e.created_at < ").push_bind(moment.0);
        }
        Some(Before::Message(id)) => {
            let number: Option<i64> = sqlx::query_scalar(
                "SELECT number FROM mcp_memory.entries WHERE scope = $1 AND id = $2 AND session_id = $3 AND role IS NOT NULL",
            )
            .bind(place.scope)
            .bind(kept(id))
            .bind(kept(session_id))
            .fetch_optional(&mut *connection)
            .await?;
            let Some(number) = number else {
                return Err(Trouble::Final(StoreError::UnknownMessage {
                    session_id: session_id.to_owned(),
                    message_id: id.clone(),
                }));
            };
            query.push(" AND e.number < ").push_bind(number);
        }
    }
    query.push(" ORDER BY e.number DESC LIMIT ").push_bind(i64::from(limit));
    let mut messages = page(query.build().fetch(connection), rows::entry).await?;
    messages.items.reverse();
    Ok(Some(History { session, messages }))
}

/// See [`crate::store::Store::agents_with_session`].
pub(super) async fn agents_with_session(
    connection: &mut PgConnection,
    tenant: &str,
    session_id: &str,
    limit: u32,
) -> Result<Vec<String>, Trouble> {
    let agents: Vec<String> = sqlx::query_scalar(
        "SELECT s.agent_id FROM mcp_memory.sessions AS o JOIN mcp_memory.scopes AS s ON s.number = o.scope
         WHERE o.id = $1 AND s.tenant = $2 ORDER BY s.agent_id LIMIT $3",
    )
    .bind(kept(session_id))
    .bind(kept(tenant))
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    Ok(agents.into_iter().map(super::text::given).collect())
}

/// The changes after a version. Entries and deletions are read from one state of the database.
pub(super) async fn changes_since(
    connection: &mut PgConnection,
    scope: &Scope,
    version: u64,
    model: Option<&str>,
    limit: u32,
) -> Result<Changes, Trouble> {
    let mut snapshot = bounds::begin(connection, "ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let Some(place) = place(&mut snapshot, scope).await? else {
        return Ok(if version == 0 { Changes::Next(Vec::new()) } else { Changes::Reload });
    };
    let now = place.version.cast_unsigned();
    if version > now || now - version > REMEMBERED_CHANGES {
        return Ok(Changes::Reload);
    }
    let mut query = QueryBuilder::<Postgres>::new("SELECT e.archived_at, ");
    query.push(INDEXED).push(" FROM mcp_memory.entries AS e LEFT JOIN mcp_memory.vectors AS v ON v.number = e.number AND v.model = ");
    query.push_bind(model.map(kept)).push(" WHERE e.scope = ").push_bind(place.scope);
    query.push(" AND e.version > ").push_bind(version.cast_signed());
    query.push(" ORDER BY e.version LIMIT ").push_bind(i64::from(limit));
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
        "SELECT number, version FROM mcp_memory.tombstones WHERE scope = $1 AND version > $2 ORDER BY version LIMIT $3",
    )
    .bind(place.scope)
    .bind(version.cast_signed())
    .bind(i64::from(limit))
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
    connection: &mut PgConnection,
    place: Place,
    after: u64,
    model: Option<&str>,
    limit: u32,
) -> Result<Vec<Indexed>, Trouble> {
    let mut query = QueryBuilder::<Postgres>::new("SELECT ");
    query.push(INDEXED).push(" FROM mcp_memory.entries AS e LEFT JOIN mcp_memory.vectors AS v ON v.number = e.number AND v.model = ");
    query.push_bind(model.map(kept)).push(" WHERE e.archived_at IS NULL");
    push_after(&mut query, place, after);
    query.push(" ORDER BY e.number LIMIT ").push_bind(i64::from(limit));
    let rows = query.build().fetch_all(connection).await?;
    Ok(rows::all(&rows, rows::indexed)?)
}

/// How many entries are there, from the smallest index that can tell.
pub(super) async fn size(connection: &mut PgConnection, place: Place) -> Result<u64, Trouble> {
    let mut bounded = bounds::begin(connection, "READ ONLY").await?;
    let count: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM mcp_memory.entries WHERE scope = $1 AND archived_at IS NULL",
    )
    .bind(place.scope)
    .fetch_one(&mut *bounded)
    .await?;
    Ok(count.cast_unsigned())
}

/// See [`crate::store::Store::unembedded`].
pub(super) async fn unembedded(
    connection: &mut PgConnection,
    model: &str,
    after: u64,
    limit: u32,
) -> Result<Vec<Unembedded>, Trouble> {
    let mut bounded = bounds::begin(connection, "READ ONLY").await?;
    let rows = sqlx::query(
        "SELECT e.number, e.version, e.content, s.tenant, s.agent_id
         FROM mcp_memory.entries AS e JOIN mcp_memory.scopes AS s ON s.number = e.scope
         LEFT JOIN mcp_memory.vectors AS v ON v.number = e.number AND v.model = $1
         WHERE e.number > $2 AND e.archived_at IS NULL AND v.number IS NULL ORDER BY e.number LIMIT $3",
    )
    .bind(kept(model))
    .bind(after.min(i64::MAX.cast_unsigned()).cast_signed())
    .bind(i64::from(limit))
    .fetch_all(&mut *bounded)
    .await?;
    let unembedded = rows.iter().map(|row| {
        let number = rows::unsigned(row, "number")?;
        Ok(Unembedded {
            cursor: number,
            scope: Scope::new(rows::required(row, "tenant")?, rows::required(row, "agent_id")?),
            number,
            version: rows::unsigned(row, "version")?,
            content: rows::required(row, "content")?,
        })
    });
    Ok(unembedded.collect::<Result<_, sqlx::Error>>()?)
}

/// Counts; `store_bytes` is left out, for it is no statement's business.
pub(super) async fn statistics(
    connection: &mut PgConnection,
    tenant: &str,
    agent_id: Option<&str>,
    now: Moment,
) -> Result<Statistics, Trouble> {
    const SCOPES: &str =
        "(SELECT number FROM mcp_memory.scopes WHERE tenant = $1 AND ($2::text IS NULL OR agent_id = $2))";
    let mut bounded = bounds::begin(connection, "READ ONLY").await?;
    let mut query = QueryBuilder::<Postgres>::new(
        "SELECT memory_type, count(*) AS count FROM mcp_memory.entries WHERE scope IN ",
    );
    query.push(SCOPES).push(" AND archived_at IS NULL AND role IS NULL GROUP BY memory_type");
    let by_type = query.build().bind(kept(tenant)).bind(agent_id.map(kept)).fetch_all(&mut *bounded).await?;
    let memories_by_type = by_type
        .iter()
        .map(|row| Ok((rows::required(row, "memory_type")?, rows::unsigned(row, "count")?)))
        .collect::<Result<std::collections::BTreeMap<String, u64>, sqlx::Error>>()?;
    let mut query = QueryBuilder::<Postgres>::new("WITH mine AS ");
    query.push(SCOPES).push(
        " SELECT
            (SELECT count(*) FROM mcp_memory.entries
             WHERE scope IN (SELECT number FROM mine) AND archived_at IS NULL AND role IS NOT NULL) AS messages,
            (SELECT count(*) FROM mcp_memory.entries
             WHERE scope IN (SELECT number FROM mine) AND archived_at IS NOT NULL AND role IS NULL) AS archived,
            (SELECT count(*) FROM mcp_memory.sessions AS o WHERE scope IN (SELECT number FROM mine) AND EXISTS
                (SELECT 1 FROM mcp_memory.entries AS e WHERE e.scope = o.scope AND e.session_id = o.id
                 AND e.role IS NOT NULL)) AS conversations,
            (SELECT count(*) FROM mcp_memory.sessions WHERE scope IN (SELECT number FROM mine)) AS sessions,
            (SELECT count(*) FROM mcp_memory.sessions WHERE scope IN (SELECT number FROM mine) AND expires_at > $3) AS active,
            (SELECT min(created_at) FROM mcp_memory.entries
             WHERE scope IN (SELECT number FROM mine) AND archived_at IS NULL AND role IS NULL) AS oldest,
            (SELECT max(created_at) FROM mcp_memory.entries
             WHERE scope IN (SELECT number FROM mine) AND archived_at IS NULL AND role IS NULL) AS newest",
    );
    let row = query.build().bind(kept(tenant)).bind(agent_id.map(kept)).bind(now.0);
    let row = row.fetch_one(&mut *bounded).await?;
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
    connection: &mut PgConnection,
    after: Option<&Scope>,
    limit: u32,
) -> Result<Vec<Scope>, Trouble> {
    let (tenant, agent) = after.map_or(("", ""), |scope| (&*scope.tenant, &*scope.agent_id));
    let rows = sqlx::query(
        "SELECT tenant, agent_id FROM mcp_memory.scopes WHERE (tenant, agent_id) > ($1, $2) ORDER BY tenant, agent_id LIMIT $3",
    )
    .bind(kept(tenant))
    .bind(kept(agent))
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    read_scopes(&rows)
}

/// The scopes that were last written to.
pub(super) async fn recent_scopes(
    connection: &mut PgConnection,
    tenant: Option<&str>,
    limit: u32,
) -> Result<Vec<Scope>, Trouble> {
    let rows = sqlx::query(
        "SELECT tenant, agent_id FROM mcp_memory.scopes WHERE $1::text IS NULL OR tenant = $1
         ORDER BY written_at DESC LIMIT $2",
    )
    .bind(tenant.map(kept))
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    read_scopes(&rows)
}

fn read_scopes(rows: &[PgRow]) -> Result<Vec<Scope>, Trouble> {
    let scopes = rows
        .iter()
        .map(|row| Ok(Scope::new(rows::required(row, "tenant")?, rows::required(row, "agent_id")?)));
    Ok(scopes.collect::<Result<_, sqlx::Error>>()?)
}

/// Everything of a scope after a number, with the idempotency keys.
pub(super) async fn export_entries(
    connection: &mut PgConnection,
    place: Place,
    after: u64,
    limit: u32,
) -> Result<Vec<(Kept, Option<Key>)>, Trouble> {
    let mut query = QueryBuilder::<Postgres>::new("SELECT e.idempotency_key, e.key_hash, ");
    query.push(ENTRY).push(" FROM mcp_memory.entries AS e WHERE true");
    push_after(&mut query, place, after);
    query.push(" ORDER BY e.number LIMIT ").push_bind(i64::from(limit));
    let rows = query.build().fetch_all(connection).await?;
    let entries = rows.iter().map(|row| Ok((rows::kept(row)?, rows::key(row)?)));
    Ok(entries.collect::<Result<_, sqlx::Error>>()?)
}

/// The sessions of a scope after an id.
pub(super) async fn export_sessions(
    connection: &mut PgConnection,
    place: Place,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<Session>, Trouble> {
    let mut query = QueryBuilder::<Postgres>::new("SELECT ");
    query.push(SESSION).push(" FROM mcp_memory.sessions WHERE scope = ").push_bind(place.scope);
    query.push(" AND id > ").push_bind(kept(after.unwrap_or_default()));
    query.push(" ORDER BY id LIMIT ").push_bind(i64::from(limit));
    let rows = query.build().fetch_all(connection).await?;
    Ok(rows::all(&rows, rows::session)?)
}

/// Restricts to the entries of one scope. The numbers say so as well, and have the order.
fn push_range(query: &mut QueryBuilder<Postgres>, place: Place) {
    push_after(query, place, 0);
}

/// Restricts to the entries of one scope after a number.
fn push_after(query: &mut QueryBuilder<Postgres>, place: Place, after: u64) {
    let (floor, ceiling) = range(place.scope);
    let after = i64::try_from(after).unwrap_or(i64::MAX).max(floor);
    query.push(" AND e.number > ").push_bind(after).push(" AND e.number <= ").push_bind(ceiling);
    query.push(" AND e.scope = ").push_bind(place.scope);
}

pub(super) fn push_filter(query: &mut QueryBuilder<Postgres>, filter: &Filter) {
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
        query.push(" AND e.memory_type = ").push_bind(kept(memory_type).into_owned());
    }
    if let Some(session_id) = session_id {
        query.push(" AND e.session_id = ").push_bind(kept(session_id).into_owned());
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

/// The bytes that the tables and their indexes take.
pub(super) async fn bytes(connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
    let bytes: i64 = sqlx::query_scalar(
        "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
         WHERE relnamespace = 'mcp_memory'::regnamespace AND relkind = 'r'",
    )
    .fetch_one(connection)
    .await?;
    Ok(bytes.cast_unsigned())
}
