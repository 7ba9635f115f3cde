//! Rows that are too large to be sent. PostgreSQL sends a row whole and the client reads it whole, whatever it holds: a
//! bound on this side alone would come when the memory is taken. So PostgreSQL is told to stop before such a row. What
//! writes and then returns rows, and what is no table to select from, is as it is.

use mcp_system_user_tools::sql::as_table;

/// Stands in the error with which PostgreSQL stops. What else it says does not hold this.
const MARK: &str = "mcp-system: this row is too large: ";

/// Bytes that a row may have as text for each that an answer may have: what is sent takes less as a rule, such as four
/// for a number of ten digits. The answer's own bound is kept all the same.
const TEXT: usize = 8;

/// A reading statement that PostgreSQL stops before a row which no answer can hold.
pub(super) fn bounded(sql: &str, max_bytes: usize) -> String {
    let Some(table) = as_table(sql) else { return sql.to_owned() };
    let most = max_bytes.saturating_mul(TEXT);
    // `OFFSET 0` keeps the planner from making each value twice; `q.*` are the columns, even where one is called q. A text
    // that is no number is the way to an error without a function of one's own, and the clock in it keeps the planner from
    // finding that out beforehand.
    format!(
        "SELECT q.* FROM (SELECT * FROM ({table}) AS s OFFSET 0) AS q \
         WHERE CASE WHEN octet_length(ROW(q.*)::text) <= {most} THEN true \
         ELSE ('{MARK}' || clock_timestamp())::int IS NULL END"
    )
}

/// Whether PostgreSQL stopped before such a row.
pub(super) fn is_too_large(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(told) if told.message().contains(MARK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_bounded_and_anything_else_stays_as_it_is() {
        let text = bounded("SELECT 1; -- one", 1000);
        assert!(text.contains("FROM (SELECT 1) AS s") && text.contains("<= 8000 THEN"), "{text}");
        assert_eq!(bounded("SHOW server_version", 1000), "SHOW server_version");
    }
}
