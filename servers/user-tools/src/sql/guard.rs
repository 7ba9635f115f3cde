//! Which statements may run.

use super::scan::{Dialect, Kind, Token, scan};

/// What a statement may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Look only.
    Read,
    /// Change data as well.
    Write,
}

/// Checks that a text is one statement which does no more than it may.
///
/// # Errors
/// Says what it may not do.
pub fn check(text: &str, dialect: Dialect, access: Access) -> Result<(), String> {
    check_tokens(&scan(text, dialect, false)?, dialect, access)
}

pub(super) fn check_tokens(tokens: &[Token], dialect: Dialect, access: Access) -> Result<(), String> {
    let last = tokens.iter().rposition(|token| token.kind != Kind::Sign(';'));
    let Some(last) = last else { return Err("there is no statement".into()) };
    let tokens = &tokens[..=last];
    if tokens.iter().any(|token| token.kind == Kind::Sign(';')) {
        return Err("there is more than one statement; send one at a time".into());
    }
    let first = tokens.iter().find(|token| token.kind != Kind::Sign('('));
    let first = match first.map(|token| &token.kind) {
        Some(Kind::Word(word)) => word.as_str(),
        _ => return Err("a statement should begin with a word, such as SELECT".into()),
    };
    let readers: &[&str] = match dialect {
        Dialect::Sqlite => &["select", "with", "values", "explain"],
        Dialect::Postgres => &["select", "with", "values", "explain", "table", "show"],
    };
    let writers: &[&str] = match dialect {
        Dialect::Sqlite => &["insert", "update", "delete", "replace"],
        Dialect::Postgres => &["insert", "update", "delete", "merge", "call", "refresh"],
    };
    let allowed = readers.contains(&first) || (access == Access::Write && writers.contains(&first));
    if !allowed {
        return Err(match access {
            Access::Read => format!(
                "{} is not allowed here: only reading statements are, which begin with {}",
                first.to_uppercase(),
                listed(readers)
            ),
            Access::Write => format!(
                "{} is not allowed: statements begin with {}, {}",
                first.to_uppercase(),
                listed(readers),
                listed(writers)
            ),
        });
    }
    for (place, token) in tokens.iter().enumerate() {
        let called = tokens.get(place + 1).is_some_and(|next| next.kind == Kind::Sign('('));
        match &token.kind {
            // SQLite takes a quoted name, and even a string, for a function's name.
            Kind::Word(name) | Kind::QuotedName(name) if forbidden(&name.to_lowercase(), called, dialect) => {
                return Err(format!("the function {name} is not allowed"));
            }
            Kind::Text if called && dialect == Dialect::Sqlite => {
                return Err("a string cannot be called as a function".into());
            }
            _ => {}
        }
    }
    Ok(())
}

/// A reading statement of PostgreSQL as parentheses can hold it, to select from: without what stands behind its end.
/// `EXPLAIN` and `SHOW` are none; nor is a text that closes what it did not open, which would mean something else there.
pub fn as_table(text: &str) -> Option<&str> {
    let tokens = scan(text, Dialect::Postgres, false).ok()?;
    let last = tokens.iter().rposition(|token| token.kind != Kind::Sign(';'))?;
    let tokens = &tokens[..=last];
    let first = tokens.iter().find(|token| token.kind != Kind::Sign('('))?;
    let Kind::Word(word) = &first.kind else { return None };
    if !["select", "with", "values", "table"].contains(&word.as_str()) {
        return None;
    }
    let mut open = 0_usize;
    for token in tokens {
        match token.kind {
            Kind::Sign('(') => open += 1,
            Kind::Sign(')') => open = open.checked_sub(1)?,
            Kind::Sign(';') => return None,
            _ => {}
        }
    }
    (open == 0).then(|| &text[..tokens[last].end])
}

fn listed(words: &[&str]) -> String {
    words.join(", ").to_uppercase()
}

/// Functions that do more than look, although a read-only transaction lets them, or that run text as SQL,
/// past these checks.
const POSTGRES: [&str; 30] = [
    "dblink",
    "lo_creat",
    "lo_create",
    "lo_export",
    "lo_from_bytea",
    "lo_import",
    "lo_open",
    "lo_put",
    "lo_unlink",
    "nextval",
    "pg_backup_start",
    "pg_backup_stop",
    "pg_cancel_backend",
    "pg_create_restore_point",
    "pg_current_logfile",
    "pg_export_snapshot",
    "pg_log_backend_memory_contexts",
    "pg_notify",
    "pg_promote",
    "pg_reload_conf",
    "pg_rotate_logfile",
    "pg_stat_file",
    "pg_switch_wal",
    "pg_terminate_backend",
    "query_to_xml",
    "query_to_xml_and_xmlschema",
    "query_to_xmlschema",
    "set_config",
    "setval",
    "ts_stat",
];
const POSTGRES_PREFIXES: [&str; 14] = [
    "binary_upgrade_",
    "connectby",
    "crosstab",
    "cursor_to_xml",
    "dblink_",
    "pg_advisory_",
    "pg_copy_",
    "pg_drop_",
    "pg_file_",
    "pg_logical_",
    "pg_ls_",
    "pg_read_",
    "pg_replication_",
    "pg_stat_reset",
];
const SQLITE: [&str; 8] = [
    "edit",
    "fts3_tokenizer",
    "load_extension",
    "readfile",
    "sqlite_dbpage",
    "sqlite_log",
    "writefile",
    "zipfile",
];

/// The pragmas that may be asked as tables: those that describe.
const SQLITE_PRAGMAS: [&str; 11] = [
    "pragma_collation_list",
    "pragma_database_list",
    "pragma_foreign_key_list",
    "pragma_function_list",
    "pragma_index_info",
    "pragma_index_list",
    "pragma_index_xinfo",
    "pragma_module_list",
    "pragma_table_info",
    "pragma_table_list",
    "pragma_table_xinfo",
];

fn forbidden(name: &str, called: bool, dialect: Dialect) -> bool {
    match dialect {
        Dialect::Postgres => {
            called
                && (POSTGRES.contains(&name)
                    || POSTGRES_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
                    || name.starts_with("pg_try_advisory_"))
        }
        Dialect::Sqlite => {
            // A table-valued function needs no parentheses.
            (called && SQLITE.contains(&name))
                || name == "sqlite_dbpage"
                || (name.starts_with("pragma_") && !SQLITE_PRAGMAS.contains(&name))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_statement_that_can_be_selected_from_is_a_table() {
        for (text, table) in [
            ("SELECT 1", "SELECT 1"),
            ("-- why\n select ')' ; ; -- so", "-- why\n select ')'"),
            ("(VALUES (1)) UNION (TABLE a) /* ( */;", "(VALUES (1)) UNION (TABLE a)"),
            ("WITH a AS (SELECT $1) SELECT * FROM a", "WITH a AS (SELECT $1) SELECT * FROM a"),
        ] {
            assert_eq!(as_table(text), Some(table));
        }
        for text in [
            "",
            "SHOW server_version",
            "EXPLAIN SELECT 1",
            "DELETE FROM a",
            "SELECT 1; SELECT 2",
            "SELECT 1) AS a, (SELECT 2",
            "(SELECT 1",
            "SELECT 'a",
        ] {
            assert_eq!(as_table(text), None, "{text}");
        }
    }

    fn both(text: &str, access: Access) -> [Result<(), String>; 2] {
        [Dialect::Sqlite, Dialect::Postgres].map(|dialect| check(text, dialect, access))
    }

    #[test]
    fn reading_statements_may_run() {
        for text in [
            "SELECT 1",
            "select 1;",
            "  -- why\n SELECT ';' ; ; ",
            "WITH a AS (SELECT 1) SELECT * FROM a",
            "VALUES (1), (2)",
            "EXPLAIN SELECT 1",
            "(SELECT 1) UNION (SELECT 2)",
            "SELECT \"delete\", updated FROM changes WHERE note = 'DROP TABLE x; --'",
            "SELECT count(*) FROM pragma_table_info('t')",
        ] {
            for result in both(text, Access::Read) {
                assert_eq!(result, Ok(()), "{text}");
            }
        }
        assert_eq!(check("SHOW server_version", Dialect::Postgres, Access::Read), Ok(()));
    }

    #[test]
    fn others_may_not() {
        for text in [
            "",
            ";",
            "-- nothing",
            "1",
            "INSERT INTO t VALUES (1)",
            "UPDATE t SET a = 1",
            "DELETE FROM t",
            "DROP TABLE t",
            "ATTACH 'x.db' AS x",
            "DETACH x",
            "PRAGMA query_only = 0",
            "VACUUM INTO 'x.db'",
            "COPY t TO PROGRAM 'sh'",
            "DO $$ BEGIN END $$",
            "SET transaction_read_only = off",
            "COMMIT",
            "BEGIN",
            "LOCK t",
            "LISTEN x",
            "SELECT 1; DELETE FROM t",
            "SELECT 1 /* ; */; SELECT 2",
        ] {
            for result in both(text, Access::Read) {
                assert!(result.is_err(), "{text}");
            }
        }
        for text in
            ["DROP TABLE t", "ATTACH 'x' AS x", "COMMIT", "PRAGMA a", "INSERT INTO t VALUES (1); COMMIT"]
        {
            for result in both(text, Access::Write) {
                assert!(result.is_err(), "{text}");
            }
        }
        for result in both("INSERT INTO t VALUES (1)", Access::Write) {
            assert_eq!(result, Ok(()));
        }
    }

    #[test]
    fn functions_that_do_more_than_look_are_refused() {
        for text in [
            "SELECT pg_terminate_backend(1)",
            "SELECT Pg_Terminate_Backend /* x */ (1)",
            "SELECT \"pg_terminate_backend\"(1)",
            "SELECT pg_catalog.pg_read_file('/etc/passwd')",
            "SELECT set_config('statement_timeout', '0', false)",
            "SELECT * FROM dblink('x', 'y')",
            "SELECT query_to_xml('select 1', true, true, '')",
            "SELECT pg_try_advisory_lock(1)",
        ] {
            assert!(check(text, Dialect::Postgres, Access::Read).is_err(), "{text}");
        }
        for text in [
            "SELECT load_extension('x')",
            "SELECT [load_extension]('x')",
            "SELECT 'load_extension'('x')",
            "SELECT * FROM pragma_query_only",
            "SELECT * FROM pragma_wal_checkpoint('TRUNCATE')",
            "SELECT * FROM sqlite_dbpage WHERE pgno = 1",
        ] {
            assert!(check(text, Dialect::Sqlite, Access::Read).is_err(), "{text}");
        }
        assert_eq!(check("SELECT pg_terminate_backend FROM t", Dialect::Postgres, Access::Read), Ok(()));
    }

    proptest! {
        #[test]
        fn a_second_statement_is_never_let_through(
            before in "(SELECT 1|SELECT ';'|SELECT \"a;\"|WITH a AS \\(SELECT 1\\) SELECT 2)",
            between in "([ \n;]|--[a-z';]{0,5}\n|/\\*[a-z;' ]{0,5}\\*/){0,5}",
            after in "(DELETE FROM t|DROP TABLE t|ATTACH 'x' AS y|PRAGMA a|SELECT 2)",
        ) {
            for result in both(&format!("{before};{between}{after}"), Access::Write) {
                prop_assert!(result.is_err());
            }
        }

        #[test]
        fn any_text_is_judged(text in any::<String>()) {
            let _ = both(&text, Access::Read);
        }
    }
}
