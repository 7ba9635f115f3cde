//! Another user or password for the database, while the store is open and at work.

use super::*;
use std::path::Path;

const WHO: &str = "SELECT string_agg(DISTINCT usename, ',') FROM pg_stat_activity
    WHERE application_name = 'mcp-system-memory'";

/// Puts the URL with another user or another end in the file, as a Secret's volume does.
fn put(file: &Path, url: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, url).expect("written");
    std::fs::rename(&new, file).expect("in place");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_user_is_taken_over_once_it_works_and_no_call_fails() {
    let server = database("off");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("url");
    put(&file, server.url());
    let options = options(server.url());
    let store = Arc::new(PostgresStore::open(&options).await.expect("opens"));
    let following = tokio::spawn({
        let (logins, file) = (store.logins(&options), file.clone());
        async move { logins.follow(&file).await }
    });
    let done = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (store, done) = (store.clone(), done.clone());
            tokio::spawn(async move {
                let mut number = 0;
                while done.load(Ordering::SeqCst) == 0 {
                    number += 1;
                    store.insert(&scope("a"), vec![word(number, writer)]).await.expect("stored");
                }
                number.cast_unsigned()
            })
        })
        .collect();

    // A user that is not there yet, then may do nothing yet, then all that it needs.
    let (_, place) = server.url().split_once('@').expect("a URL");
    let of = |login: &str| format!("postgres://{login}@{place}");
    put(&file, &of("second:two"));
    let refused = || server.log().contains("Role \"second\" does not exist");
    until(refused);
    sql(server.url(), "CREATE ROLE second LOGIN PASSWORD 'two'");
    let not_allowed = || server.log().contains("permission denied for schema mcp_memory");
    until(not_allowed);
    until(|| sql(server.url(), WHO) == "postgres");
    sql(server.url(), "GRANT USAGE ON SCHEMA mcp_memory TO second");
    sql(server.url(), "GRANT ALL ON ALL TABLES IN SCHEMA mcp_memory TO second");
    until(|| sql(server.url(), WHO) == "second");

    // Another password, of which the database knows first; new connections must wait for the file.
    sql(server.url(), "ALTER ROLE second PASSWORD 'three'");
    let since = sql(server.url(), "SELECT now()");
    put(&file, &of("second:three"));
    // One tries it out, the next is a writer's.
    let logins = format!(
        "SELECT count(*) >= 2 FROM pg_stat_activity WHERE usename = 'second' AND backend_start > '{since}'"
    );
    until(|| sql(server.url(), &logins) == "t");
    sql(server.url(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'second'");

    done.store(1, Ordering::SeqCst);
    let mut stored = 0;
    for writer in writers {
        stored += writer.await.expect("no call failed");
    }
    assert_eq!(store.version(&scope("a")).await.expect("reads"), stored);

    assert!(!following.is_finished());
    put(&file, &another(server.url(), "other"));
    tokio::time::timeout(Duration::from_mins(1), following).await.expect("notices").expect("ends");
    assert_eq!(sql(server.url(), WHO), "second", "another database is none for this store");
}
