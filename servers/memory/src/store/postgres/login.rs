//! How this server logs in to the database, and another user or password for it while the store is open: whoever
//! changes one must not have to restart what uses it.

use super::life::{Lives, only_reads};
use anyhow::{Context, anyhow, ensure};
use mcp_system_kit::until_other;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgPool};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// How long to wait before a URL is tried again by which nobody can log in yet.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// What a user needs to be able to do with the tables.
const RIGHTS: &str = "SELECT bool_and(has_table_privilege(format('mcp_memory.%I', tablename), privilege)) \
    FROM pg_tables, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) privilege WHERE schemaname = 'mcp_memory'";

/// What the URL says; `password` counts where it has none.
pub(super) fn login(url: &str, password: Option<&str>) -> anyhow::Result<PgConnectOptions> {
    let login = PgConnectOptions::from_str(url)
        // The cause would show the URL.
        .map_err(|_| {
            anyhow!("the URL of the database is none; it must be like postgres://user:password@host/name")
        })?
        .application_name("mcp-system-memory")
        // Since version 12 the default is exact; and PgBouncer refuses whoever asks for something else.
        .extra_float_digits(None);
    let has_password = url.split_once('@').is_some_and(|(user, _)| user.matches(':').count() > 1);
    Ok(match password {
        Some(password) if !has_password => login.password(password),
        _ => login,
    })
}

/// What logs an open store in.
#[derive(Debug)]
pub struct Logins {
    pool: PgPool,
    lives: Arc<Lives>,
    url: String,
    password: Option<String>,
}

impl Logins {
    pub(super) fn new(pool: PgPool, lives: Arc<Lives>, url: String, password: Option<String>) -> Self {
        Self { pool, lives, url, password }
    }

    /// Follows the file that the URL was read from. Another user or password for the same database is in force once it
    /// works; until then the old one stays. Resolves when the file names another database: that is none for this store.
    pub async fn follow(mut self, file: &Path) {
        let mut told = String::new();
        loop {
            let url = until_other(file, &self.url).await;
            match self.take(url.trim()).await {
                Ok(true) => told.clear(),
                Ok(false) => return,
                Err(error) => {
                    let error = format!("{error:#}");
                    if told != error {
                        tracing::error!(
                            error,
                            "the new URL of the database does not work yet; the old one stays in force"
                        );
                        told = error;
                    }
                    tokio::time::sleep(TRY_AGAIN).await;
                }
            }
        }
    }

    /// Tells whether this URL is one of the same database, and is in force now.
    async fn take(&mut self, url: &str) -> anyhow::Result<bool> {
        let password = self.password.as_deref();
        let (old, new) = (login(&self.url, password)?, login(url, password)?);
        if place(&old) != place(&new) {
            return Ok(false);
        }
        let user = new.get_username();
        let mut connection = new.connect().await.with_context(|| format!("{user} cannot log in"))?;
        ensure!(self.lives.meet(&mut connection).await?, only_reads());
        let has_rights: Option<bool> = sqlx::query_scalar(RIGHTS).fetch_one(&mut connection).await?;
        ensure!(
            has_rights == Some(true),
            "{user} may not read and write the tables of the schema mcp_memory"
        );
        // It has served.
        connection.close().await.ok();
        tracing::info!(user, "the URL of the database has another user or password, which is in force now");
        self.pool.set_connect_options(new);
        self.lives.distrust();
        url.clone_into(&mut self.url);
        Ok(true)
    }
}

/// Which database it is.
fn place(login: &PgConnectOptions) -> (&str, Option<&Path>, u16, &str) {
    let database = login.get_database().unwrap_or_else(|| login.get_username());
    (login.get_host(), login.get_socket().map(std::path::PathBuf::as_path), login.get_port(), database)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_user_or_password_is_no_other_database() {
        let of = |url| login(url, None).expect("a URL");
        let old = of("postgres://a:b@host/name");
        for same in ["postgres://c:d@host/name", "postgres://a:b@host:5432/name?sslmode=require"] {
            assert_eq!(place(&old), place(&of(same)), "{same}");
        }
        for other in
            ["postgres://a:b@other/name", "postgres://a:b@host:5433/name", "postgres://a:b@host/another"]
        {
            assert_ne!(place(&old), place(&of(other)), "{other}");
        }
        // Without a name it is the user's.
        assert_eq!(place(&of("postgres://name:b@host")), place(&old));
        assert_ne!(place(&of("postgres://a:b@host")), place(&of("postgres://c:b@host")));
    }

    #[test]
    fn a_url_that_is_none_does_not_show_itself() {
        let error = login("postgres//user:secret@host", None).expect_err("none").to_string();
        assert!(error.contains("must be like") && !error.contains("secret"), "{error}");
    }
}
