//! What bounds a transaction on the database's side: a statement that is slow must not be taken for a database that is silent,
//! and who vanishes under way must hold nothing for long.
//!
//! Each bound ends with its transaction, for behind a pooler the session is others' too. Statements that find what they read by
//! an index, a row or a page of them, have no transaction and so no bound.

use sqlx::{AssertSqlSafe, Connection, PgConnection, Postgres, Transaction};

/// A server that vanishes under way, and of whose end the database does not hear, is waited for a minute at the most. Who waits
/// for what another one holds, such as while an index is made, and whose statement takes long by itself, is told so before it
/// would take the database for silent. A shorter bound of the URL, or of the user, stays.
const BOUNDS: &str = "SET LOCAL idle_in_transaction_session_timeout = '1min'; SET LOCAL lock_timeout = '20s'; \
    SELECT set_config('statement_timeout', '25s', true) \
    WHERE current_setting('statement_timeout')::interval NOT BETWEEN '1ms' AND '25s'";

/// Begins a transaction of this mode, such as `READ ONLY`, within the bounds. One that is dropped ends with what is next asked
/// on the connection; nobody waits for that.
pub(super) async fn begin<'a>(
    connection: &'a mut PgConnection,
    mode: &str,
) -> Result<Transaction<'a, Postgres>, sqlx::Error> {
    connection.begin_with(AssertSqlSafe(format!("BEGIN {mode}; {BOUNDS}"))).await
}

/// Begins one for what may take minutes, whatever bound the URL or the user has.
pub(super) async fn begin_unbound(
    connection: &mut PgConnection,
) -> Result<Transaction<'_, Postgres>, sqlx::Error> {
    connection.begin_with("BEGIN; SET LOCAL statement_timeout = 0").await
}
