//! The tables of before, brought up to date, and back.

use super::*;
use crate::model::Filter;
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};

const FIRST: &str = include_str!("../migrations/1_memories_and_conversations.sql");

/// A store as the first version of the tables left it.
async fn first_version(directory: &Path) {
    let pool = open_to_write(&file_in(directory), &Options::default()).await.expect("opens");
    migrate::migrate_new_to(&pool, 1).await;
    for statement in [
        "INSERT INTO agents (number, agent_id) VALUES (1, 'a'), (2, 'b')",
        "INSERT INTO memories VALUES
            ((1 << 40) + 1, 'm1', 1, 's', 'fact', 'Ada prefers tea', '{\"k\":1}', 0.9, 10),
            ((1 << 40) + 2, 'm2', 1, NULL, 'general', 'Bob is away', NULL, 0.5, 20),
            ((2 << 40) + 1, 'm3', 2, NULL, 'general', 'Ada prefers tea', NULL, 0.5, 30)",
        "INSERT INTO sessions VALUES (1, 's', 'a', 'u', NULL, 5, 500, 0), (2, 'empty', 'c', NULL, '{\"x\":2}', 6, 600, 1)",
        "INSERT INTO messages VALUES
            (1, 'said1', 1, 'a', 'u', 'user', 'hello', 40), (2, 'said2', 1, 'b', NULL, 'assistant', 'hi', 50)",
    ] {
        sqlx::query(statement).execute(&pool).await.expect(statement);
    }
    pool.close().await;
}

async fn connect(directory: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(file_in(directory)).connect().await.expect("opens")
}

#[tokio::test]
async fn what_the_first_version_stored_is_kept_both_ways() {
    assert!(FIRST.contains("memories_fts"));
    let directory = tempfile::tempdir().unwrap();
    first_version(directory.path()).await;
    let store = open(directory.path()).await;
    let (a, b) = (Scope::new("default", "a"), Scope::new("default", "b"));
    let kept = store.get(&a, "m1").await.unwrap().expect("kept");
    assert_eq!((kept.entry.importance, kept.entry.created_at), (0.9, Moment(10)));
    assert_eq!((kept.entry.session_id.as_deref(), kept.entry.memory_type.as_str()), (Some("s"), "fact"));
    assert_eq!(store.version(&a).await.unwrap(), 3);
    let loaded = store.load(&a, 0, None, 10).await.unwrap();
    assert_eq!(loaded.iter().map(|it| it.version).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(loaded.iter().all(|it| it.analysis.is_empty()));
    // The hashes of old contents are there: a duplicate is recognised.
    let again = store.insert(&a, vec![memory(9, "Bob is away")]).await.unwrap();
    assert_eq!((again[0].id.as_str(), again[0].duplicate), ("m2", true));
    assert_eq!(store.history(&a, "s", None, 9).await.unwrap().unwrap().messages.items.len(), 1);
    assert_eq!(store.history(&b, "s", None, 9).await.unwrap().unwrap().messages.items[0].content, "hi");
    let empty = store.session(&Scope::new("default", "c"), "empty").await.unwrap().expect("kept");
    assert!(empty.fixed);

    let new = store.insert(&a, vec![memory(60, "stored by the second version")]).await.unwrap();
    assert!(!new[0].duplicate);
    store.insert(&Scope::new("other", "a"), vec![memory(61, "of a tenant")]).await.unwrap();
    store.close().await;
    drop(store);

    migrate(directory.path(), 1).await.expect("goes back");
    let mut connection = connect(directory.path()).await;
    let found: Vec<String> = sqlx::query_scalar(
        "SELECT m.id FROM memories_fts AS f JOIN memories AS m ON m.number = f.rowid
         WHERE memories_fts MATCH 'tea OR second OR tenant' ORDER BY m.created_at",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert_eq!(found, ["m1", "m3", "m60", "m61"]);
    let messages = sqlx::query("SELECT agent_id, message FROM messages ORDER BY number")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    let said: Vec<(String, String)> = messages.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(said, [("a".into(), "hello".into()), ("b".into(), "hi".into())]);
    let agents: Vec<String> = sqlx::query_scalar("SELECT agent_id FROM agents ORDER BY agent_id")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert_eq!(agents, ["a", "b", "c", "other/a"]);
    connection.close().await.unwrap();

    migrate(directory.path(), 2).await.expect("and forward");
    let store = open(directory.path()).await;
    assert_eq!(store.recent(&a, &Filter::default(), 9).await.unwrap().items.len(), 4);
    store.close().await;
    drop(store);
    let refused = migrate(directory.path(), 7).await.expect_err("unknown");
    assert!(refused.to_string().contains("no version 7"), "{refused}");
}

#[tokio::test]
async fn what_a_key_was_used_for_is_known_once_there_is_room_for_it() {
    let (directory, store) = fresh().await;
    store.insert(&scope("a"), vec![keyed(1, "kept")]).await.expect("stored");
    store.close().await;
    drop(store);
    migrate(directory.path(), 2).await.expect("goes back");
    let beside =
        SqliteStore::open_beside(directory.path(), &Options::default()).await.expect_err("other tables");
    assert!(format!("{beside:#}").contains("another version of this program"), "{beside:#}");
    migrate(directory.path(), 3).await.expect("and forward");
    conformance::a_key_is_known_to_be_for(&open(directory.path()).await, "kept").await;
}

#[tokio::test]
async fn tables_of_a_newer_program_are_refused_with_what_to_do() {
    let (directory, store) = fresh().await;
    store.close().await;
    drop(store);
    let mut connection = connect(directory.path()).await;
    let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
        VALUES (4, 'later', TRUE, x'00', 0)";
    sqlx::query(later).execute(&mut connection).await.expect("noted");
    connection.close().await.unwrap();
    let refused = SqliteStore::open(directory.path(), &Options::default()).await.expect_err("newer");
    let told = format!("{refused:#}");
    assert!(told.contains("have version 4") && told.contains("memory migrate"), "{told}");
}
