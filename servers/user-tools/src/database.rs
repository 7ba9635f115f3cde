//! Where a database is.

use crate::sql::Dialect;
use mcp_system_config::Database;
use url::Url;

/// Where a database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A file of SQLite.
    Sqlite(String),
    /// A PostgreSQL server, as a URL without a password.
    Postgres(Url),
}

impl Location {
    /// Reads the settings of a database.
    ///
    /// # Errors
    /// Says what is wrong in them.
    pub fn of(database: &Database) -> Result<Self, String> {
        let text = database.url.trim();
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() || path.contains('?') || path == ":memory:" {
                return Err(format!("url: {text:?} names no file; write sqlite:/path/to/file.db"));
            }
            if database.password_env.is_some() {
                return Err("passwordEnv: SQLite has no passwords; leave it out".into());
            }
            return Ok(Self::Sqlite(path.to_owned()));
        }
        let url = Url::parse(text).map_err(|error| {
            format!("url: {error}; write postgres://user@host:5432/database or sqlite:/path/to/file.db")
        })?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(format!(
                "url: {:?} is not offered; write postgres://user@host:5432/database or sqlite:/path/to/file.db",
                url.scheme()
            ));
        }
        if url.password().is_some() {
            return Err(
                "url: it holds a password; keep that in a Secret, and name its variable with passwordEnv"
                    .into(),
            );
        }
        if url.host_str().is_none_or(str::is_empty) || url.username().is_empty() {
            return Err("url: a user and a host are needed: postgres://user@host:5432/database".into());
        }
        if url.path().trim_matches('/').is_empty() {
            return Err("url: the name of the database is missing: postgres://user@host:5432/database".into());
        }
        Ok(Self::Postgres(url))
    }

    /// Whose SQL it speaks.
    pub const fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(url: &str) -> Result<Location, String> {
        Location::of(&serde_json::from_value(json!({"name": "a", "url": url})).expect("a database"))
    }

    #[test]
    fn a_location_is_a_file_or_a_server() {
        assert_eq!(of("sqlite:/a/b.db"), Ok(Location::Sqlite("/a/b.db".into())));
        assert_eq!(of("sqlite:///a/b.db"), Ok(Location::Sqlite("/a/b.db".into())));
        assert!(matches!(of("postgres://u@h/d?sslmode=require"), Ok(Location::Postgres(_))));
        for (url, expected) in [
            ("sqlite::memory:", "names no file"),
            ("sqlite:", "names no file"),
            ("sqlite:/a?mode=rw", "names no file"),
            ("postgres://u:pw@h/d", "it holds a password"),
            ("postgres://h/d", "a user and a host"),
            ("postgres://u@h/", "the name of the database"),
            ("mysql://u@h/d", "\"mysql\" is not offered"),
            ("nothing", "write postgres://"),
        ] {
            let error = of(url).expect_err(url);
            assert!(error.contains(expected) && !error.contains("pw"), "{error}");
        }
    }
}
