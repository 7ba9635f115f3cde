//! The databases of the settings: opened when they are first asked, read where nothing can be written, and
//! bounded in rows, bytes and time. It knows nothing of tools.

mod answer;
mod postgres;
mod sqlite;

use crate::guards::{self, Guards};
use crate::tool::Failure;
pub(crate) use answer::{Answer, Bounds, Truncated};
use mcp_system_config::Database;
use mcp_system_kit::breaker::State;
use mcp_system_user_tools::Location;
use mcp_system_user_tools::sql::{Access, check};
use postgres::Postgres;
use serde_json::Value;
use sqlite::Sqlite;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// All databases, by name.
#[derive(Debug, Default)]
pub(crate) struct Databases(BTreeMap<String, Arc<Opened>>);

/// A database that can be asked.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) settings: Database,
    pub(crate) engine: Engine,
}

#[derive(Debug)]
pub(crate) enum Engine {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

/// A table or a view.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) schema: Option<String>,
    pub(crate) name: String,
    pub(crate) kind: String,
}

impl Databases {
    /// Gets ready to ask a database. One whose settings have not changed is taken over from `before`, with its
    /// connections.
    pub(crate) fn add(
        &mut self,
        settings: &Database,
        location: &Location,
        before: &Self,
        guards: &Guards,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(), String> {
        if let Some(known) = before.0.get(&settings.name).filter(|known| known.settings == *settings) {
            self.0.insert(settings.name.clone(), known.clone());
            return Ok(());
        }
        let password = match &settings.password_env {
            Some(name) => {
                Some(environment(name).ok_or_else(|| format!("the environment variable {name} is not set"))?)
            }
            None => None,
        };
        let engine = match location {
            Location::Sqlite(path) => Engine::Sqlite(Sqlite::new(path, settings)),
            Location::Postgres(url) => {
                let guarded = guards.of(&guards::database(&settings.name));
                Engine::Postgres(Postgres::new(url.as_str(), password.as_deref(), settings, guarded)?)
            }
        };
        let opened = Opened { settings: settings.clone(), engine };
        self.0.insert(settings.name.clone(), Arc::new(opened));
        Ok(())
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Opened>> {
        self.0.values()
    }

    /// A database by its name; without one, the only one there is.
    pub(crate) fn get(&self, name: Option<&str>) -> Result<&Arc<Opened>, Failure> {
        let names = || self.0.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        match name {
            Some(name) => self
                .0
                .get(name)
                .ok_or_else(|| Failure(format!("there is no database {name:?}; there are {}", names()))),
            None => match self.0.values().collect::<Vec<_>>().as_slice() {
                [only] => Ok(only),
                _ => Err(Failure(format!("say which database is meant; there are {}", names()))),
            },
        }
    }
}

impl Opened {
    /// Its bounds, for at most so many rows.
    pub(crate) fn bounds(&self, max_rows: Option<u32>) -> Bounds {
        let settings = &self.settings;
        Bounds {
            max_rows: max_rows.map_or(settings.max_rows, |rows| rows.min(settings.max_rows)) as usize,
            max_bytes: settings.max_bytes as usize,
            seconds: settings.timeout_seconds,
        }
    }

    /// Runs a text that somebody wrote, where nothing can be written.
    pub(crate) async fn query(
        &self,
        sql: &str,
        parameters: &[Value],
        max_rows: Option<u32>,
    ) -> Result<Answer, Failure> {
        check(sql, self.engine.dialect(), Access::Read).map_err(Failure)?;
        self.run(sql, parameters, false, self.bounds(max_rows)).await
    }

    /// Runs a statement that was checked.
    pub(crate) async fn run(
        &self,
        sql: &str,
        parameters: &[Value],
        write: bool,
        bounds: Bounds,
    ) -> Result<Answer, Failure> {
        let limit = limit(bounds);
        match &self.engine {
            Engine::Sqlite(sqlite) => {
                let run = sqlite.run(sql, parameters, write, bounds);
                let done = tokio::time::timeout(limit, run).await;
                done.unwrap_or_else(|_| Err(answer::too_slow(bounds.seconds)))
            }
            Engine::Postgres(postgres) => postgres.run(sql, parameters, write, bounds, limit).await,
        }
        .map_err(|failure| self.named(&failure))
    }

    fn named(&self, failure: &Failure) -> Failure {
        Failure(format!("the database {}: {}", self.settings.name, failure.0))
    }

    /// The state of the breaker before it; a file has none.
    pub(crate) fn circuit_breaker(&self) -> Option<State> {
        match &self.engine {
            Engine::Sqlite(_) => None,
            Engine::Postgres(postgres) => Some(postgres.circuit_breaker()),
        }
    }

    /// Whether it answers.
    pub(crate) async fn check(&self) -> Result<(), String> {
        let checked = match &self.engine {
            Engine::Sqlite(_) => self.query("SELECT 1", &[], None).await.map(drop),
            Engine::Postgres(postgres) => {
                let bounds = self.bounds(None);
                postgres.check(bounds, limit(bounds)).await.map_err(|failure| self.named(&failure))
            }
        };
        checked.map_err(|failure| failure.0)
    }

    /// Its tables and views, those of the database itself left out, and what kept further ones out.
    pub(crate) async fn tables(&self) -> Result<(Vec<Table>, Option<Truncated>), Failure> {
        let sql = match self.engine {
            Engine::Sqlite(_) => sqlite::TABLES,
            Engine::Postgres(_) => postgres::TABLES,
        };
        let answer = self.query(sql, &[], None).await?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let tables = answer
            .rows
            .iter()
            .map(|row| Table {
                schema: row.first().and_then(text),
                name: row.get(1).and_then(text).unwrap_or_default(),
                kind: row.get(2).and_then(text).unwrap_or_default(),
            })
            .collect();
        Ok((tables, answer.truncated))
    }

    /// The columns and the indexes of a table.
    pub(crate) async fn describe(&self, schema: Option<&str>, table: &str) -> Result<[Answer; 2], Failure> {
        let (columns, indexes) = match self.engine {
            Engine::Sqlite(_) => (sqlite::COLUMNS, sqlite::INDEXES),
            Engine::Postgres(_) => (postgres::COLUMNS, postgres::INDEXES),
        };
        let parameters = [Value::from(table), schema.map_or(Value::Null, Value::from)];
        let columns = self.query(columns, &parameters, None).await?;
        Ok([columns, self.query(indexes, &parameters, None).await?])
    }
}

/// How long a statement may take at all. The database ends it itself; this is for one that does not answer any more.
fn limit(bounds: Bounds) -> Duration {
    Duration::from_secs(u64::from(bounds.seconds) + 2)
}

impl Engine {
    /// Its name, as clients see it.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgresql",
        }
    }

    pub(crate) const fn dialect(&self) -> mcp_system_user_tools::sql::Dialect {
        match self {
            Self::Sqlite(_) => mcp_system_user_tools::sql::Dialect::Sqlite,
            Self::Postgres(_) => mcp_system_user_tools::sql::Dialect::Postgres,
        }
    }
}
