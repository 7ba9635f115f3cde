//! PgBouncer between the store and the database.

use super::*;
use sqlx::ConnectOptions;

/// All that the store asks of a session of the database, by way of a pooler with these settings.
async fn it_works_behind_a_pooler(settings: &[(&str, &str)]) {
    // The pooler keeps some connections to each of the many databases.
    let many = [("fsync", "off"), ("synchronous_commit", "off"), ("max_connections", "300")];
    let server = databases::postgres(&many).expect("a PostgreSQL");
    let pooler = databases::pgbouncer(server.url(), settings).expect("a PgBouncer");
    let count = AtomicUsize::new(0);
    conformance::all(async || {
        let name = format!("d{}", count.fetch_add(1, Ordering::Relaxed));
        another(server.url(), &name);
        open(&in_database(pooler.url(), &name)).await
    })
    .await;
    // What one held that is gone is free, though the pooler may keep the session.
    let store = open(pooler.url()).await;
    let other = open(pooler.url()).await;
    let claim = store.claim_unembedded().await.expect("answers").expect("nobody has it");
    assert!(other.claim_unembedded().await.expect("answers").is_none());
    drop(claim);
    let freed = tokio::time::timeout(Duration::from_mins(1), async {
        while other.claim_unembedded().await.expect("answers").is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    freed.await.expect("within a minute");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_in_session_mode_may_stand_between() {
    it_works_behind_a_pooler(&[("pool_mode", "session")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_in_transaction_mode_has_to_follow_what_is_prepared() {
    // All use the same session, then, by turns.
    let mut settings = vec![("pool_mode", "transaction"), ("default_pool_size", "1")];
    if databases::pgbouncer_follows_statements().expect("a PgBouncer") {
        it_works_behind_a_pooler(&[("pool_mode", "transaction"), ("max_prepared_statements", "200")]).await;
        settings.push(("max_prepared_statements", "0"));
    }
    let server = database("off");
    let pooler = databases::pgbouncer(server.url(), &settings).expect("a PgBouncer");
    let (login, lives) = (login(pooler.url(), None).expect("a URL"), Lives::default());
    let (mut one, mut other) =
        (login.connect().await.expect("connects"), login.connect().await.expect("connects"));
    lives.meet(&mut one).await.expect("what is prepared has no name yet that another one has");
    let error = lives.meet(&mut other).await.expect_err("it has now").to_string();
    assert!(error.contains("session mode") && error.contains("max_prepared_statements"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_killed_behind_a_pooler_loses_nothing() {
    let mut server = database("on");
    // It asks again at once for a database that was not there.
    let settings = [("pool_mode", "session"), ("server_login_retry", "1")];
    let pooler = databases::pgbouncer(server.url(), &settings).expect("a PgBouncer");
    let url = pooler.url().to_owned();
    nothing_acknowledged_is_lost([&url, &url], async || {
        tokio::time::sleep(Duration::from_millis(300)).await;
        tokio::task::block_in_place(|| server.kill().and_then(|()| server.start()))
            .expect("killed and started");
    })
    .await
    .close()
    .await;
}
