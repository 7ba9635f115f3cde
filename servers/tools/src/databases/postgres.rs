//! PostgreSQL: every statement in a transaction of its own, read-only unless it may write, with a time limit
//! that the server keeps.

mod bounded;
mod values;

use super::answer::{Answer, Bounds, Column, collected, too_slow};
use crate::tool::Failure;
use bounded::{bounded, is_too_large};
use futures::StreamExt;
use mcp_system_config::Database;
use mcp_system_kit::breaker::State;
use mcp_system_kit::guarded::{Guarded, Trouble, Verdict};
use serde_json::Value;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgPoolOptions, PgRow};
use sqlx::{Arguments, AssertSqlSafe, Column as _, Connection, Either, Executor, PgPool, Row, TypeInfo};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

pub(super) const TABLES: &str = "\
    SELECT table_schema::text, table_name::text, \
        CASE table_type WHEN 'VIEW' THEN 'view' ELSE 'table' END \
    FROM information_schema.tables \
    WHERE table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2";
pub(super) const COLUMNS: &str = "\
    SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull, \
        pg_get_expr(d.adbin, d.adrelid), \
        EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisprimary AND a.attnum = ANY(i.indkey)) \
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
    WHERE c.relname = $1 AND n.nspname = coalesce($2, current_schema()::text) \
        AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";
pub(super) const INDEXES: &str = "\
    SELECT i.relname::text, x.indisunique, pg_get_indexdef(x.indexrelid) \
    FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class c ON c.oid = x.indrelid \
    JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relname = $1 AND n.nspname = coalesce($2, current_schema()::text) ORDER BY 1";

/// A server.
#[derive(Debug)]
pub(crate) struct Postgres {
    pool: PgPool,
    guarded: Arc<Guarded>,
}

impl Postgres {
    pub(super) fn new(
        url: &str,
        password: Option<&str>,
        settings: &Database,
        guarded: Arc<Guarded>,
    ) -> Result<Self, String> {
        mcp_system_kit::install_crypto();
        let mut options = PgConnectOptions::from_str(url).map_err(|error| format!("url: {error}"))?;
        options = options
            .application_name("mcp-system-tools")
            // The guard reads strings as the standard does.
            .options([("standard_conforming_strings", "on")]);
        if let Some(password) = password {
            options = options.password(password);
        }
        let pool = PgPoolOptions::new()
            .max_connections(settings.max_connections)
            .acquire_timeout(Duration::from_secs(settings.timeout_seconds.into()))
            .idle_timeout(Duration::from_mins(1))
            .connect_lazy_with(options);
        // Whoever is let through finds a connection; waiting for one would look like a database that is silent.
        guarded.at_most(settings.max_connections);
        Ok(Self { pool, guarded })
    }

    pub(super) fn circuit_breaker(&self) -> State {
        self.guarded.state()
    }

    pub(super) async fn run(
        &self,
        sql: &str,
        parameters: &[Value],
        write: bool,
        bounds: Bounds,
        limit: Duration,
    ) -> Result<Answer, Failure> {
        let asked = || self.prepared(sql, parameters, write, bounds);
        let answer = self.guarded.call(limit, Problem::verdict, asked).await;
        answer.map_err(|trouble| self.told(trouble, bounds))
    }

    /// Whether it answers. One that is busy with all the calls it takes does: were it silent, these would fail, and the
    /// breaker would tell.
    pub(super) async fn check(&self, bounds: Bounds, limit: Duration) -> Result<(), Failure> {
        let asked = || self.prepared("SELECT 1", &[], false, bounds);
        match self.guarded.call(limit, Problem::verdict, asked).await {
            Ok(_) | Err(Trouble::Exhausted { .. }) => Ok(()),
            Err(trouble) => Err(self.told(trouble, bounds)),
        }
    }

    fn told(&self, trouble: Trouble<Problem>, bounds: Bounds) -> Failure {
        match trouble {
            Trouble::Failed(Problem::Database(error)) => failed(error, bounds),
            Trouble::Failed(Problem::Own(failure)) => failure,
            Trouble::Late { .. } => too_slow(bounds.seconds),
            Trouble::Exhausted { places } if places == self.pool.options().get_max_connections() => {
                Failure(format!(
                    "all its {places} connections are in use (maxConnections), and none came free in time; \
                     nothing was sent, try again in a moment"
                ))
            }
            trouble => Failure(trouble.to_string()),
        }
    }

    async fn prepared(
        &self,
        sql: &str,
        parameters: &[Value],
        write: bool,
        bounds: Bounds,
    ) -> Result<Answer, Problem> {
        match self.once(sql, parameters, write, bounds).await {
            // A table has changed since the statement was prepared there; nothing was carried out.
            Err(Problem::Database(sqlx::Error::Database(error)))
                if error.code().as_deref() == Some("0A000") =>
            {
                self.once(sql, parameters, write, bounds).await
            }
            result => result,
        }
    }

    async fn once(
        &self,
        sql: &str,
        parameters: &[Value],
        write: bool,
        bounds: Bounds,
    ) -> Result<Answer, Problem> {
        let mut connection = self.pool.acquire().await?;
        let result = run(&mut connection, sql, parameters, write, bounds).await;
        let is_of_use = match &result {
            // What is left of the rows would have to be read before the connection is of use again.
            Ok(answer) => answer.truncated.is_none(),
            Err(Problem::Database(sqlx::Error::Database(error))) => error.code().as_deref() != Some("0A000"),
            Err(_) => true,
        };
        if !is_of_use {
            connection.close_on_drop();
        }
        result
    }
}

enum Problem {
    Database(sqlx::Error),
    Own(Failure),
}

impl Problem {
    /// Nothing is repeated: whether a statement that was lost was carried out, nobody knows.
    fn verdict(&self) -> Verdict {
        match self {
            Self::Database(sqlx::Error::Database(error)) => match error.code().as_deref() {
                // It is ending or starting, has no connection left, or lost this one.
                Some("57P01" | "57P02" | "57P03" | "53300") => Verdict::Failed,
                Some(code) if code.starts_with("08") => Verdict::Failed,
                _ => Verdict::Answered,
            },
            Self::Database(
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed,
            ) => Verdict::Failed,
            Self::Database(_) | Self::Own(_) => Verdict::Answered,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database(error) => error.fmt(f),
            Self::Own(failure) => failure.fmt(f),
        }
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

async fn run(
    connection: &mut PgConnection,
    sql: &str,
    parameters: &[Value],
    write: bool,
    bounds: Bounds,
) -> Result<Answer, Problem> {
    // Ended by dropping it, too: the rollback is sent before the connection is used again.
    let begin = if write { "BEGIN READ WRITE" } else { "BEGIN READ ONLY" };
    let mut transaction = connection.begin_with(begin).await?;
    let limit = format!("SET LOCAL statement_timeout = '{}s'", bounds.seconds);
    transaction.execute(AssertSqlSafe(limit)).await?;
    let answer = {
        let arguments = arguments(parameters).map_err(Problem::Own)?;
        // Prepared statements are kept by their text alone, and the same one may come with other types.
        let types: Vec<&str> = parameters.iter().map(kind).collect();
        let sql = if write { sql.to_owned() } else { bounded(sql, bounds.max_bytes) };
        let text = format!("{sql}\n/* {} */", types.join(", "));
        let query = sqlx::query_with(AssertSqlSafe(text), arguments);
        let found = transaction.fetch_many(query).map(|next| match next {
            Ok(Either::Left(done)) => Ok(Either::Left(done.rows_affected())),
            Ok(Either::Right(row)) => Ok(Either::Right(Some(row))),
            // A row that was not sent.
            Err(error) if is_too_large(&error) => Ok(Either::Right(None)),
            Err(error) => Err(error),
        });
        collected(
            found,
            write,
            bounds,
            |row: &Option<PgRow>| row.as_ref().map(columns).unwrap_or_default(),
            |row: &Option<PgRow>| row.as_ref().map_or(usize::MAX, sent),
            |row: &Option<PgRow>| row.as_ref().map(values).unwrap_or_default(),
        )
        .await?
    };
    if write {
        transaction.commit().await?;
    } else if answer.truncated.is_none() {
        transaction.rollback().await?;
    }
    Ok(answer)
}

fn arguments(parameters: &[Value]) -> Result<PgArguments, Failure> {
    let mut arguments = PgArguments::default();
    for value in parameters {
        match value {
            Value::Null => arguments.add(None::<String>),
            Value::Bool(value) => arguments.add(*value),
            Value::Number(number) => match number.as_i64() {
                Some(number) => arguments.add(number),
                None => arguments.add(number.as_f64().unwrap_or_default()),
            },
            Value::String(text) => arguments.add(text.clone()),
            Value::Array(items) => array(&mut arguments, items),
            Value::Object(_) => arguments.add(value.to_string()),
        }
        .map_err(|error| Failure(error.to_string()))?;
    }
    Ok(arguments)
}

/// What a value is bound as: enough to tell two of different types apart.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null | Value::String(_) | Value::Object(_) => "text",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() => "bigint",
        Value::Number(_) => "double precision",
        Value::Array(items) if items.is_empty() => "text[]",
        Value::Array(items) if items.iter().all(Value::is_i64) => "bigint[]",
        Value::Array(items) if items.iter().all(Value::is_number) => "double precision[]",
        Value::Array(items) if items.iter().all(Value::is_boolean) => "boolean[]",
        Value::Array(_) => "text[]",
    }
}

/// A list as an array of what all its items are, else as text[].
fn array(arguments: &mut PgArguments, items: &[Value]) -> Result<(), sqlx::error::BoxDynError> {
    let all = |is: fn(&Value) -> bool| !items.is_empty() && items.iter().all(is);
    if all(Value::is_i64) {
        arguments.add(items.iter().filter_map(Value::as_i64).collect::<Vec<_>>())
    } else if all(Value::is_number) {
        arguments.add(items.iter().filter_map(Value::as_f64).collect::<Vec<_>>())
    } else if all(Value::is_boolean) {
        arguments.add(items.iter().filter_map(Value::as_bool).collect::<Vec<_>>())
    } else {
        let text = |item: &Value| match item {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        };
        arguments.add(items.iter().map(text).collect::<Vec<Option<String>>>())
    }
}

fn columns(row: &PgRow) -> Vec<Column> {
    row.columns()
        .iter()
        .map(|column| Column {
            name: column.name().to_owned(),
            kind: column.type_info().name().to_lowercase(),
        })
        .collect()
}

/// Bytes of a row as it came.
fn sent(row: &PgRow) -> usize {
    let bytes = |place| row.try_get_raw(place).ok().and_then(|raw| raw.as_bytes().ok().map(<[u8]>::len));
    (0..row.len()).filter_map(bytes).sum()
}

fn values(row: &PgRow) -> Vec<Value> {
    (0..row.len())
        .map(|place| row.try_get_raw(place).map_or(Value::Null, |raw| values::value(&raw)))
        .collect()
}

fn failed(error: sqlx::Error, bounds: Bounds) -> Failure {
    match error {
        // query_canceled: the statement's time was over.
        sqlx::Error::Database(error) if error.code().as_deref() == Some("57014") => too_slow(bounds.seconds),
        sqlx::Error::Database(error) => {
            let code = error.code().map(|code| format!(" (SQLSTATE {code})")).unwrap_or_default();
            Failure(format!("{}{code}", error.message()))
        }
        sqlx::Error::PoolTimedOut => Failure("it cannot be reached in time; try again later".into()),
        other => Failure(other.to_string()),
    }
}
