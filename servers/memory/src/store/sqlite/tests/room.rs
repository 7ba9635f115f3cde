//! A store without room: clear errors, nothing acknowledged is lost, and it goes on when there is room again.

use super::*;

#[tokio::test]
async fn a_full_store_says_so_loses_nothing_and_recovers() {
    let directory = tempfile::tempdir().unwrap();
    let small = Options { max_pages: Some(100), ..Options::default() };
    let store = SqliteStore::open(directory.path(), &small).await.expect("opens");
    let mut acknowledged = Vec::new();
    let error = loop {
        let number = i64::try_from(acknowledged.len()).unwrap();
        let draft = memory(number, &format!("{number} {}", "word ".repeat(500)));
        match store.insert(&scope("a"), vec![draft]).await {
            Ok(inserted) => acknowledged.push(inserted[0].id.clone()),
            Err(error) => break error,
        }
        assert!(number < 10_000, "a hundred pages hold no more");
    };
    assert!(matches!(error, StoreError::Full(_)), "{error:?}");
    assert!(error.to_string().contains("no room left"), "{error}");
    // Reading goes on; so does deleting, which makes room for more.
    for id in &acknowledged {
        assert!(store.get(&scope("a"), id).await.expect("reads").is_some(), "{id}");
    }
    assert_eq!(store.version(&scope("a")).await.unwrap(), acknowledged.len() as u64);
    store.close().await;
    drop(store);
    let store = open(directory.path()).await;
    store.insert(&scope("a"), vec![memory(99_999, "there is room again")]).await.expect("stored");
    assert_eq!(store.size(&scope("a")).await.unwrap(), acknowledged.len() as u64 + 1);
}
