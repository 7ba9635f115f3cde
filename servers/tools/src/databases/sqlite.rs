//! SQLite: a file that is opened for reading only, and once more for statements that may write.

use super::answer::{Answer, Bounds, Column, collected, float, too_slow};
use crate::tool::Failure;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::TryStreamExt;
use mcp_system_config::Database;
use serde_json::Value;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqlitePoolOptions, SqliteRow, SqliteValueRef};
use sqlx::{
    Arguments, AssertSqlSafe, Column as _, Executor, Row, SqlitePool, TypeInfo, Value as _, ValueRef,
};
use std::time::{Duration, Instant};

/// Bytes that all of SQLite in this process may take: what a statement makes of little is not known before it is there.
const MOST_MEMORY: &str = "67108864";
/// Steps of SQLite's machine between two looks at the clock.
const STEPS: i32 = 10_000;

pub(super) const TABLES: &str = "\
    SELECT NULL, name, type FROM sqlite_schema \
    WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name";
pub(super) const COLUMNS: &str = "\
    SELECT name, type, \"notnull\" = 0, dflt_value, pk > 0 FROM pragma_table_info(?1) \
    WHERE ?2 IS NULL OR ?2 = 'main' ORDER BY cid";
pub(super) const INDEXES: &str = "\
    SELECT l.name, l.\"unique\" = 1, (SELECT group_concat(i.name, ', ') FROM pragma_index_info(l.name) AS i) \
    FROM pragma_index_list(?1) AS l WHERE ?2 IS NULL OR ?2 = 'main' ORDER BY l.name";

/// A file.
#[derive(Debug)]
pub(crate) struct Sqlite {
    read: SqlitePool,
    write: SqlitePool,
}

impl Sqlite {
    pub(super) fn new(path: &str, settings: &Database) -> Self {
        let timeout = Duration::from_secs(settings.timeout_seconds.into());
        let options = || {
            SqliteConnectOptions::new()
                .filename(path)
                .create_if_missing(false)
                .busy_timeout(timeout)
                .pragma("hard_heap_limit", MOST_MEMORY)
        };
        let pool = |options| {
            SqlitePoolOptions::new()
                .max_connections(settings.max_connections)
                .acquire_timeout(timeout)
                .idle_timeout(Duration::from_mins(1))
                .connect_lazy_with(options)
        };
        Self {
            // Read-only twice over: the file is opened so, and the connection refuses writes by itself.
            read: pool(options().read_only(true).pragma("query_only", "1").pragma("trusted_schema", "0")),
            write: pool(options().foreign_keys(true)),
        }
    }

    pub(super) async fn run(
        &self,
        sql: &str,
        parameters: &[Value],
        write: bool,
        bounds: Bounds,
    ) -> Result<Answer, Failure> {
        let pool = if write { &self.write } else { &self.read };
        let mut connection = pool.acquire().await.map_err(|error| failed(error, bounds))?;
        let end = Instant::now() + Duration::from_secs(bounds.seconds.into());
        let mut handle = connection.lock_handle().await.map_err(|error| failed(error, bounds))?;
        handle.set_progress_handler(STEPS, move || Instant::now() < end);
        drop(handle);
        let query = sqlx::query_with(AssertSqlSafe(sql.to_owned()), arguments(parameters)?);
        let found = connection.fetch_many(query).map_ok(|next| next.map_left(|done| done.rows_affected()));
        // Bounded by what SQLite may take in all.
        let sent = |_: &SqliteRow| 0;
        collected(found, write, bounds, columns, sent, values).await.map_err(|error| failed(error, bounds))
    }
}

fn arguments(parameters: &[Value]) -> Result<SqliteArguments, Failure> {
    let mut arguments = SqliteArguments::default();
    for value in parameters {
        match value {
            Value::Null => arguments.add(None::<String>),
            Value::Bool(value) => arguments.add(i64::from(*value)),
            Value::Number(number) => match number.as_i64() {
                Some(number) => arguments.add(number),
                None => arguments.add(number.as_f64().unwrap_or_default()),
            },
            Value::String(text) => arguments.add(text.clone()),
            Value::Array(_) | Value::Object(_) => arguments.add(value.to_string()),
        }
        .map_err(|error| Failure(error.to_string()))?;
    }
    Ok(arguments)
}

fn columns(row: &SqliteRow) -> Vec<Column> {
    row.columns()
        .iter()
        .map(|column| Column { name: column.name().to_owned(), kind: column.type_info().name().to_owned() })
        .collect()
}

fn values(row: &SqliteRow) -> Vec<Value> {
    (0..row.len()).map(|place| row.try_get_raw(place).map_or(Value::Null, |raw| value(&raw))).collect()
}

/// By what the value is, not by what its column declares: SQLite lets any value stand anywhere.
fn value(raw: &SqliteValueRef<'_>) -> Value {
    if raw.is_null() {
        return Value::Null;
    }
    let copy = raw.to_owned();
    let info = raw.type_info();
    let integer = || copy.try_decode_unchecked::<i64>();
    let text = || copy.try_decode_unchecked::<String>().map(Value::from);
    let bytes = || copy.try_decode_unchecked::<Vec<u8>>().map(|bytes| STANDARD.encode(bytes).into());
    match info.name() {
        "INTEGER" | "INT4" | "INT8" | "BIGINT" => integer().map(Value::from),
        "BOOLEAN" => integer().map(|value| Value::from(value != 0)),
        "REAL" => copy.try_decode_unchecked::<f64>().map(float),
        "BLOB" => bytes(),
        _ => text().or_else(|_| bytes()),
    }
    .unwrap_or(Value::Null)
}

fn failed(error: sqlx::Error, bounds: Bounds) -> Failure {
    match error {
        // SQLITE_INTERRUPT: the progress handler ended it.
        sqlx::Error::Database(error) if error.code().as_deref() == Some("9") => too_slow(bounds.seconds),
        // SQLITE_NOMEM.
        sqlx::Error::Database(error) if error.code().as_deref() == Some("7") => {
            Failure("the statement needs too much memory; ask for less".into())
        }
        sqlx::Error::Database(error) => Failure(error.message().to_owned()),
        sqlx::Error::PoolTimedOut => Failure("all its connections are in use; try again later".into()),
        other => Failure(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Databases, Opened};
    use super::*;
    use crate::guards::Guards;
    use mcp_system_config::Resilience;
    use mcp_system_kit::Metrics;
    use mcp_system_user_tools::Location;
    use serde_json::json;
    use std::sync::Arc;
    use tempfile::TempDir;

    fn guards() -> Guards {
        Guards::new(Resilience::default(), &Metrics::new("tools"))
    }

    async fn shop(change: fn(&mut Database)) -> (TempDir, Arc<Opened>) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("shop.db");
        let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        let pool = SqlitePool::connect_with(options).await.expect("created");
        let setup = "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT NOT NULL, total REAL, bytes BLOB);
            CREATE INDEX by_customer ON orders (customer, total);
            CREATE VIEW dear AS SELECT * FROM orders WHERE total > 10;
            INSERT INTO orders VALUES (1, 'Ann', 12.5, x'00ff'), (2, 'Bob', NULL, NULL), (3, 'Ann', 3, 'text');";
        sqlx::raw_sql(setup).execute(&pool).await.expect("filled");
        pool.close().await;
        let url = format!("sqlite:{}", path.display());
        let mut settings: Database =
            serde_json::from_value(json!({"name": "shop", "url": url})).expect("settings");
        change(&mut settings);
        let location = Location::of(&settings).expect("a file");
        let mut databases = Databases::default();
        databases.add(&settings, &location, &Databases::default(), &guards(), &|_| None).expect("added");
        let opened = databases.get(None).expect("the only one").clone();
        (folder, opened)
    }

    #[tokio::test]
    async fn values_come_with_their_types() {
        let (_folder, shop) = shop(|_| {}).await;
        let answer = shop
            .query(
                "SELECT id, customer, total, bytes, 1e999 FROM orders WHERE id <= ?1 ORDER BY id",
                &[json!(3)],
                None,
            )
            .await
            .expect("read");
        assert_eq!(
            answer.rows,
            [
                vec![json!(1), json!("Ann"), json!(12.5), json!("AP8="), json!("inf")],
                vec![json!(2), json!("Bob"), Value::Null, Value::Null, json!("inf")],
                vec![json!(3), json!("Ann"), json!(3.0), json!("text"), json!("inf")],
            ]
        );
        let names: Vec<_> = answer.columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["id", "customer", "total", "bytes", "1e999"]);
        assert_eq!((answer.row_count, answer.truncated), (3, None));
    }

    #[tokio::test]
    async fn parameters_are_bound() {
        let (_folder, shop) = shop(|_| {}).await;
        let parameters =
            [json!("'; DROP TABLE orders; --"), json!(true), json!(1.5), json!([1]), Value::Null];
        let answer = shop.query("SELECT ?1, ?2, ?3, ?4, ?5", &parameters, None).await.expect("read");
        assert_eq!(
            answer.rows,
            [[json!("'; DROP TABLE orders; --"), json!(1), json!(1.5), json!("[1]"), Value::Null]]
        );
    }

    #[tokio::test]
    async fn nothing_is_written_even_past_the_guard() {
        let (folder, shop) = shop(|_| {}).await;
        for sql in [
            "DELETE FROM orders".to_owned(),
            "WITH a AS (SELECT 1) INSERT INTO orders (customer) SELECT 'x' FROM a RETURNING id".to_owned(),
            "PRAGMA query_only = 0; DELETE FROM orders".to_owned(),
            "CREATE TABLE x (a)".to_owned(),
        ] {
            let bounds = shop.bounds(None);
            let error = shop.run(&sql, &[], false, bounds).await.expect_err(&sql);
            assert!(error.0.starts_with("the database shop: "), "{error}");
        }
        let copy = folder.path().join("copy.db");
        for sql in [
            // These would make a file, so only the guard helps.
            format!("VACUUM INTO '{}'", copy.display()),
            format!("ATTACH '{}' AS copy", copy.display()),
            "SELECT 1; SELECT 2".to_owned(),
            "PRAGMA query_only = 0".to_owned(),
        ] {
            shop.query(&sql, &[], None).await.expect_err(&sql);
        }
        let count = shop.query("SELECT count(*) FROM orders", &[], None).await.expect("read");
        assert_eq!(count.rows, [[json!(3)]]);
        assert!(!copy.exists());
    }

    #[tokio::test]
    async fn answers_are_bounded_in_rows_bytes_and_time() {
        let (_folder, shop) = shop(|settings| {
            settings.timeout_seconds = 1;
            settings.max_rows = 100;
            settings.max_bytes = 5000;
        })
        .await;
        let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT ";
        let rows = shop.query(&format!("{endless} i FROM n"), &[], None).await.expect("read");
        assert_eq!((rows.row_count, rows.truncated), (100, Some(super::super::answer::Truncated::Rows)));
        let fewer = shop.query(&format!("{endless} i FROM n"), &[], Some(7)).await.expect("read");
        assert_eq!(fewer.row_count, 7);
        let wide = format!("{endless} hex(zeroblob(1000)) FROM n");
        let bytes = shop.query(&wide, &[], None).await.expect("read");
        assert_eq!((bytes.row_count, bytes.truncated), (2, Some(super::super::answer::Truncated::Bytes)));
        let error = shop.query(&format!("{endless} count(*) FROM n"), &[], None).await.expect_err("too slow");
        assert!(error.0.contains("took longer than 1 seconds"), "{error}");
        shop.query("SELECT 1", &[], None).await.expect("the connection is of use again");
    }

    #[tokio::test]
    async fn no_statement_takes_all_memory() {
        let (_folder, shop) = shop(|_| {}).await;
        for huge in ["zeroblob(900000000)", "hex(zeroblob(400000000))", "printf('%900000000d', 1)"] {
            let error = shop.query(&format!("SELECT {huge}"), &[], None).await.expect_err(huge);
            assert_eq!(error.0, "the database shop: the statement needs too much memory; ask for less");
        }
        shop.query("SELECT 1", &[], None).await.expect("the connection is of use again");
    }

    #[tokio::test]
    async fn a_statement_that_may_write_does() {
        let (_folder, shop) = shop(|_| {}).await;
        let bounds = shop.bounds(None);
        let sql = "INSERT INTO orders (customer) VALUES (?1) RETURNING id";
        let answer = shop.run(sql, &[json!("Cid")], true, bounds).await.expect("written");
        assert_eq!((answer.rows, answer.rows_affected), (vec![vec![json!(4)]], Some(1)));
        let count = shop.query("SELECT count(*) FROM orders", &[], None).await.expect("read");
        assert_eq!(count.rows, [[json!(4)]]);
    }

    #[tokio::test]
    async fn tables_are_listed_and_described() {
        let (_folder, shop) = shop(|_| {}).await;
        let (tables, truncated) = shop.tables().await.expect("listed");
        assert_eq!(truncated, None);
        let names: Vec<_> = tables.iter().map(|table| (table.name.as_str(), table.kind.as_str())).collect();
        assert_eq!(names, [("dear", "view"), ("orders", "table")]);
        let [columns, indexes] = shop.describe(None, "orders").await.expect("described");
        assert_eq!(columns.rows[1], [json!("customer"), json!("TEXT"), json!(0), Value::Null, json!(0)]);
        assert_eq!(indexes.rows, [[json!("by_customer"), json!(0), json!("customer, total")]]);
    }

    #[tokio::test]
    async fn a_file_that_is_not_there_is_told_and_not_made() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("none.db");
        let url = format!("sqlite:{}", path.display());
        let settings: Database = serde_json::from_value(json!({"name": "a", "url": url})).expect("settings");
        let mut databases = Databases::default();
        let location = Location::of(&settings).expect("a file");
        databases.add(&settings, &location, &Databases::default(), &guards(), &|_| None).expect("added");
        let error = databases.get(Some("a")).expect("there").check().await.expect_err("no file");
        assert!(error.contains("unable to open database file"), "{error}");
        assert!(!path.exists());
        let error = databases.get(Some("b")).expect_err("unknown");
        assert_eq!(error.0, "there is no database \"b\"; there are a");
    }
}
