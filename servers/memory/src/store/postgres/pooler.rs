//! Poolers between us and the database.
//!
//! All that a connection leaves in a session of the database ends with its transaction, but for what it has prepared. A
//! pooler may thus give each session to several connections, if each finds there what it has prepared. If not, one of them
//! could run what another has prepared under the same name. All begin with the same name: the second one of a session
//! finds it taken.

/// For a pooler that does not see to that.
const UNFOLLOWED: &str = "a pooler before the database gives its sessions to several connections and does \
    not follow what these prepare; it needs session mode, or PgBouncer 1.21 or newer with \
    max_prepared_statements above 0";

/// What went wrong, in plain words where a pooler is the cause.
pub(super) fn explained(error: sqlx::Error) -> sqlx::Error {
    match &error {
        // duplicate_prepared_statement, invalid_sql_statement_name.
        sqlx::Error::Database(it) if matches!(it.code().as_deref(), Some("42P05" | "26000")) => {
            sqlx::Error::InvalidArgument(UNFOLLOWED.into())
        }
        _ => error,
    }
}
