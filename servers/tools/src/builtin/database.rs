//! `query_database`, `list_tables`, `describe_table`: the databases of the settings, for reading only.

use super::DATABASE;
use crate::databases::{Answer, Databases, Truncated};
use crate::tool::{About, Call, Effect, Failure, Tool};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// Why they are off until the settings say otherwise.
pub(super) const DISABLED: &str = "there is no database; the operator names some with the setting databases";

pub(super) const QUERY: About = About {
    name: "query_database",
    title: "Query a database",
    category: DATABASE,
    description: "Run one reading SQL statement (SELECT) on a database that this server's operator named, in \
                  the SQL of that database, SQLite or PostgreSQL. Nothing can be written. list_tables and \
                  describe_table tell what there is.",
    keywords: &["sql", "select", "rows", "data", "sqlite", "postgres", "postgresql", "read"],
    effect: Effect::Reads,
    open_world: false,
};

pub(super) const LIST: About = About {
    name: "list_tables",
    title: "List the tables of databases",
    category: DATABASE,
    description: "List the databases that can be queried, with their tables and views.",
    keywords: &["databases", "views", "schema", "sql"],
    effect: Effect::Reads,
    open_world: false,
};

pub(super) const DESCRIBE: About = About {
    name: "describe_table",
    title: "Describe a table",
    category: DATABASE,
    description: "Tell the columns of a table or a view, with their types, and its indexes.",
    keywords: &["columns", "types", "schema", "primary key", "indexes", "sql"],
    effect: Effect::Reads,
    open_world: false,
};

#[derive(Debug)]
pub(super) struct QueryDatabase(pub(super) Arc<Databases>);

#[derive(Debug)]
pub(super) struct ListTables(pub(super) Arc<Databases>);

#[derive(Debug)]
pub(super) struct DescribeTable(pub(super) Arc<Databases>);

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    /// The database, as list_tables names it. May be left out when there is only one.
    #[serde(default)]
    database: Option<String>,
    /// One statement, for example "SELECT name FROM customers WHERE city = $1" (with ?1 in SQLite).
    #[schemars(length(min = 1, max = 65_536))]
    sql: String,
    /// The values of $1, $2 ... (?1, ?2 ... in SQLite), in order. Use them for values instead of putting
    /// these into the SQL.
    #[serde(default)]
    #[schemars(length(max = 100))]
    parameters: Vec<Value>,
    /// The most rows to return; the operator's limit holds as well.
    #[serde(default)]
    #[schemars(range(min = 1, max = 100_000))]
    max_rows: Option<u32>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    /// Only this database.
    #[serde(default)]
    database: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Describe {
    /// The database. May be left out when there is only one.
    #[serde(default)]
    database: Option<String>,
    /// The table or the view.
    #[schemars(length(min = 1, max = 256))]
    table: String,
    /// Its schema. The default is the database's own: public, as a rule, in PostgreSQL.
    #[serde(default)]
    schema: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Listed {
    databases: Vec<Listing>,
}

/// One database.
#[derive(Debug, Serialize, JsonSchema)]
struct Listing {
    name: String,
    /// What it holds.
    description: String,
    /// "sqlite" or "postgresql".
    engine: String,
    tables: Vec<TableName>,
    /// What kept further tables out, when there were some. query_database finds those, in information_schema.tables
    /// or, in SQLite, sqlite_schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    truncated: Option<Truncated>,
    /// Why its tables cannot be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// A table or a view.
#[derive(Debug, Serialize, JsonSchema)]
struct TableName {
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<String>,
    name: String,
    /// "table" or "view".
    kind: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Described {
    table: String,
    columns: Vec<ColumnOf>,
    indexes: Vec<IndexOf>,
    /// What kept further columns or indexes out, when there were some.
    #[serde(skip_serializing_if = "Option::is_none")]
    truncated: Option<Truncated>,
}

/// A column.
#[derive(Debug, Serialize, JsonSchema)]
struct ColumnOf {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    nullable: bool,
    /// The expression of its default value.
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<String>,
    primary_key: bool,
}

/// An index.
#[derive(Debug, Serialize, JsonSchema)]
struct IndexOf {
    name: String,
    unique: bool,
    /// What it covers.
    definition: String,
}

impl Tool for QueryDatabase {
    type Input = Query;
    type Output = Answer;

    fn about(&self) -> About {
        QUERY
    }

    async fn execute(&self, input: Query, _: &Call) -> Result<Answer, Failure> {
        let database = self.0.get(input.database.as_deref())?;
        database.query(&input.sql, &input.parameters, input.max_rows).await
    }
}

impl Tool for ListTables {
    type Input = List;
    type Output = Listed;

    fn about(&self) -> About {
        LIST
    }

    async fn execute(&self, input: List, _: &Call) -> Result<Listed, Failure> {
        let chosen = match &input.database {
            Some(name) => vec![self.0.get(Some(name))?],
            None => self.0.iter().collect(),
        };
        let listings = chosen.into_iter().map(|database| async move {
            // One database that does not answer should not hide the others.
            let ((tables, truncated), error) = match database.tables().await {
                Ok(found) => (found, None),
                Err(failure) => ((Vec::new(), None), Some(failure.0)),
            };
            let tables = tables.into_iter().map(|table| TableName {
                schema: table.schema,
                name: table.name,
                kind: table.kind,
            });
            Listing {
                name: database.settings.name.clone(),
                description: database.settings.description.clone(),
                engine: database.engine.name().to_owned(),
                tables: tables.collect(),
                truncated,
                error,
            }
        });
        Ok(Listed { databases: futures::future::join_all(listings).await })
    }
}

impl Tool for DescribeTable {
    type Input = Describe;
    type Output = Described;

    fn about(&self) -> About {
        DESCRIBE
    }

    async fn execute(&self, input: Describe, _: &Call) -> Result<Described, Failure> {
        let database = self.0.get(input.database.as_deref())?;
        let [columns, indexes] = database.describe(input.schema.as_deref(), &input.table).await?;
        if columns.rows.is_empty() {
            return Err(Failure(format!(
                "there is no table {:?} there; list_tables tells which there are",
                input.table
            )));
        }
        let truncated = columns.truncated.or(indexes.truncated);
        let columns = columns.rows.iter().map(|row| ColumnOf {
            name: text(row, 0).unwrap_or_default(),
            kind: text(row, 1).unwrap_or_default(),
            nullable: truth(row, 2),
            default: text(row, 3),
            primary_key: truth(row, 4),
        });
        let indexes = indexes.rows.iter().map(|row| IndexOf {
            name: text(row, 0).unwrap_or_default(),
            unique: truth(row, 1),
            definition: text(row, 2).unwrap_or_default(),
        });
        Ok(Described {
            table: input.table,
            columns: columns.collect(),
            indexes: indexes.collect(),
            truncated,
        })
    }
}

fn text(row: &[Value], place: usize) -> Option<String> {
    row.get(place).and_then(Value::as_str).map(str::to_owned)
}

/// SQLite says 1 where PostgreSQL says true.
fn truth(row: &[Value], place: usize) -> bool {
    row.get(place).is_some_and(|value| *value == Value::Bool(true) || value.as_i64() == Some(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stock::Stock;
    use mcp_system_config::ToolsSettings;
    use mcp_system_kit::Metrics;
    use serde_json::json;
    use sqlx::SqlitePool;
    use sqlx::sqlite::SqliteConnectOptions;

    #[tokio::test]
    async fn tables_and_columns_that_are_cut_off_are_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("shop.db");
        let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        let pool = SqlitePool::connect_with(options).await.expect("created");
        sqlx::raw_sql("CREATE TABLE a (x, y); CREATE TABLE b (x);").execute(&pool).await.expect("filled");
        pool.close().await;
        let url = format!("sqlite:{}", path.display());
        for (max_rows, truncated) in [(1, json!("rows")), (2, Value::Null)] {
            let settings = json!({"databases": [{"name": "shop", "url": url, "maxRows": max_rows}]});
            let settings: ToolsSettings = serde_json::from_value(settings).expect("settings");
            let stock = Stock::new(&settings, &Metrics::new("tools")).expect("a stock");
            let registry = stock.registry(&settings).expect("a registry");
            let call = async |tool: &str, arguments: Value| {
                let arguments = arguments.as_object().cloned().expect("an object");
                let entry = registry.get(tool).expect("offered");
                entry.execute(arguments, Call::default()).await.expect("answered")
            };
            let listed = call("list_tables", json!({})).await["databases"][0].clone();
            assert_eq!(listed["tables"].as_array().map(Vec::len), Some(max_rows));
            assert_eq!(listed.get("truncated").cloned().unwrap_or_default(), truncated);
            let described = call("describe_table", json!({"table": "a"})).await;
            assert_eq!(described["columns"].as_array().map(Vec::len), Some(max_rows));
            assert_eq!(described.get("truncated").cloned().unwrap_or_default(), truncated);
        }
    }
}
