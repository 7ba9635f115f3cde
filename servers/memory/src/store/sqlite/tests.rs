//! The embedded store, from the outside: values in, values out.

mod durability;
mod effort;
mod migrations;
mod room;

use super::*;
use crate::store::PORTION;
use crate::store::conformance::{self, keyed, memory, message, scope};
use std::sync::Arc;
use tempfile::TempDir;

async fn open(directory: &Path) -> SqliteStore {
    SqliteStore::open(directory, &Options::default()).await.expect("opens")
}

async fn fresh() -> (TempDir, SqliteStore) {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    (directory, store)
}

#[tokio::test]
async fn it_does_what_every_store_must_do() {
    let parent = tempfile::tempdir().unwrap();
    let count = std::sync::atomic::AtomicUsize::new(0);
    conformance::all(async || {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        open(&parent.path().join(number.to_string())).await
    })
    .await;
}

#[tokio::test]
async fn a_text_does_not_end_at_a_nul() {
    let (_directory, store) = fresh().await;
    let draft = memory(1, "before\0after");
    let inserted = store.insert(&scope("a"), vec![draft.clone()]).await.expect("stored");
    let together = store.get_many(&scope("a"), &[inserted[0].number]).await.expect("reads");
    assert_eq!(together[0].entry, draft.entry);
    assert_eq!(store.get(&scope("a"), "m1").await.expect("reads"), Some(together[0].clone()));
}

#[tokio::test]
async fn a_refused_write_takes_none_of_its_neighbours_with_it() {
    let (_directory, store) = fresh().await;
    let store = Arc::new(store);
    // Every tenth id is there twice, which the database refuses.
    let writes = (0..200).map(|number| {
        let store = store.clone();
        let id = if number % 10 == 9 { number - 1 } else { number };
        let mut draft = memory(number, &format!("word {number}"));
        draft.entry.id = format!("m{id}");
        tokio::spawn(async move { store.insert(&scope("a"), vec![draft]).await.is_ok() })
    });
    let mut accepted = 0;
    for write in writes.collect::<Vec<_>>() {
        accepted += u64::from(write.await.unwrap());
    }
    assert_eq!(accepted, 180);
    assert_eq!(store.statistics("t", Some("a"), Moment(0)).await.unwrap().memories, 180);
    assert_eq!(store.version(&scope("a")).await.unwrap(), 180, "no version is spent on a refused write");
}

#[tokio::test]
async fn what_was_stored_is_there_when_the_store_opens_again() {
    let (directory, store) = fresh().await;
    store.insert(&scope("a"), vec![memory(1, "kept")]).await.expect("stored");
    let refused = SqliteStore::open(directory.path(), &Options::default()).await.expect_err("held");
    assert!(format!("{refused:#}").contains("another memory server"), "{refused:#}");
    store.close().await;
    assert!(matches!(store.insert(&scope("a"), vec![memory(2, "late")]).await, Err(StoreError::Closed)));
    assert!(matches!(store.check().await, Err(StoreError::Closed)));
    drop(store);
    let store = open(directory.path()).await;
    store.check().await.expect("answers");
    assert_eq!(store.version(&scope("a")).await.unwrap(), 1);
    let inserted = store.insert(&scope("a"), vec![memory(3, "more")]).await.expect("stored");
    assert_eq!(inserted[0].version, 2);
}

#[tokio::test]
async fn a_connection_that_writes_waits_for_the_disk_as_it_was_told_to() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(Options::default().synchronous, Synchronous::Full);
    for (synchronous, level) in [(Synchronous::Full, 2), (Synchronous::Normal, 1)] {
        let options = Options { synchronous, ..Options::default() };
        let pool = open_to_write(&file_in(directory.path()), &options).await.expect("opens");
        // A second one takes the place of the first when that broke.
        for _ in 0..2 {
            let mut connection = pool.acquire().await.expect("a connection");
            let told: i64 =
                sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut *connection).await.expect("told");
            let mode: String =
                sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut *connection).await.expect("told");
            assert_eq!((told, mode.as_str()), (level, "wal"));
            connection.close().await.expect("closes");
        }
        pool.close().await;
    }
}

#[tokio::test]
async fn whoever_is_too_far_behind_loads_anew() {
    let (_directory, store) = fresh().await;
    for thousand in 0..11 {
        let drafts =
            (0..1000).map(|number| memory(thousand * 1000 + number, &format!("{thousand} {number}")));
        store.insert(&scope("a"), drafts.collect()).await.expect("stored");
    }
    assert_eq!(store.changes_since(&scope("a"), 999, None, 10).await.unwrap(), Changes::Reload);
    assert!(matches!(store.changes_since(&scope("a"), 1000, None, 10).await.unwrap(), Changes::Next(_)));
}

#[tokio::test]
async fn readers_that_are_all_in_use_say_so() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { pool: Pool { min_size: 0, max_size: 1 }, ..Options::default() };
    let store = SqliteStore::open(directory.path(), &options).await.expect("opens");
    let held = store.readers.acquire().await.expect("the only one");
    // Nobody has to wait for it in earnest.
    tokio::time::pause();
    let error = store.check().await.expect_err("none is left");
    tokio::time::resume();
    assert!(matches!(error, StoreError::Busy { connections: 1 }), "{error}");
    drop(held);
    store.check().await.expect("one is free");
}

#[tokio::test]
async fn much_that_was_put_away_comes_back_and_goes_portion_by_portion() {
    let (_directory, store) = fresh().await;
    let (a, all) = (scope("a"), 2 * u64::from(PORTION) + 5);
    let drafts = (0..all.cast_signed()).map(|number| memory(number, &format!("word {number}")));
    store.insert(&a, drafts.collect()).await.expect("stored");
    let put_away = async || {
        let rows = store.load(&a, 0, None, 5000).await.expect("loads");
        let archivals =
            rows.iter().map(|row| Archival { number: row.number, version: row.version, merged_into: None });
        store.archive(&a, "run", Moment(9), archivals.collect()).await.expect("put away")
    };
    assert_eq!(put_away().await, all);
    // Other writes have their turn after each.
    let some = upkeep::Unarchive { scope: a.clone(), run_id: None };
    assert_eq!(store.writer.write(some).await.expect("back"), u64::from(PORTION));
    assert_eq!(store.unarchive(&a, Some("run")).await.expect("back"), u64::from(PORTION) + 5);
    assert_eq!(store.size(&a).await.expect("counts"), all);
    assert_eq!(put_away().await, all);
    let some = upkeep::Purge { scope: a.clone(), run_id: Some("run".into()) };
    assert_eq!(store.writer.write(some).await.expect("gone"), u64::from(PORTION));
    assert_eq!(store.purge(&a, None).await.expect("gone"), u64::from(PORTION) + 5);
    assert_eq!(store.statistics("t", Some("a"), Moment(0)).await.expect("counts").archived_memories, 0);
}
