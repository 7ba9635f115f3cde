//! A statement that is slow is told from a database that is silent.

use super::*;
use crate::store::postgres::bounds;
use crate::store::postgres::turn::Write;

/// The bound of what is asked next.
async fn bound(connection: &mut PgConnection) -> String {
    let told = sqlx::query_scalar("SELECT current_setting('statement_timeout')");
    told.fetch_one(connection).await.expect("told")
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_are_bound_but_not_what_takes_minutes() {
    let server = database("off");
    let store = open(server.url()).await;
    let mut connection = store.access.pool.acquire().await.expect("one");
    for (own, within) in [("1500ms", "1500ms"), ("7s", "7s"), ("25s", "25s"), ("1h", "25s"), ("0", "25s")] {
        let set = sqlx::query("SELECT set_config('statement_timeout', $1, false)").bind(own);
        set.execute(&mut *connection).await.expect("set");
        let mut bounded = bounds::begin(&mut connection, "READ ONLY").await.expect("begins");
        assert_eq!(bound(&mut bounded).await, within, "{own}");
        bounded.rollback().await.expect("ends");
        let mut unbound = bounds::begin_unbound(&mut connection).await.expect("begins");
        assert_eq!(bound(&mut unbound).await, "0", "{own}");
        unbound.rollback().await.expect("ends");
        assert_eq!(bound(&mut connection).await, own, "the session's own is back");
    }
    let mut turn = Turn::begin(&mut connection, &scope("a"), true).await.expect("begins").expect("a scope");
    assert_eq!(bound(&mut turn.transaction).await, "25s");
    turn.give_up().await.expect("ends");
    assert_eq!(bound(&mut connection).await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_may_have_much_to_read_is_bound() {
    let server = databases::postgres(&[("fsync", "off"), ("log_statement", "all")]).expect("a PostgreSQL");
    let store = open(server.url()).await;
    let (a, filter) = (scope("a"), Filter::default());
    store.insert(&a, vec![memory(1, "one")]).await.expect("stored");
    let wanted = Wanted { text: "one", dense: Some(("m", &[1.0, 0.0])), filter: &filter, limit: 5 };
    let begun = || server.log().matches("set_config('statement_timeout', '25s', true)").count();
    let mut before = begun();
    let mut is_bound = || {
        until(|| begun() > before);
        before = begun();
    };
    store.size(&a).await.expect("counts");
    is_bound();
    store.recent(&a, &filter, 5).await.expect("reads");
    is_bound();
    store.unembedded("m", 0, 5).await.expect("reads");
    is_bound();
    store.changes_since(&a, 0, None, 5).await.expect("reads");
    is_bound();
    store.statistics("t", None, Moment(0)).await.expect("counts");
    is_bound();
    store.candidates(&a, &wanted).await.expect("finds");
    is_bound();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_the_database_ends_fails_alone() {
    let server = database("off");
    // Closer than our own, which nobody wants to wait for.
    let url = format!("{}?options=-c%20statement_timeout%3D1s", server.url());
    let mut options = options(&url);
    options.pool = Pool { min_size: 1, max_size: 1 };
    options.resilience.failure_threshold = 1;
    let store = PostgresStore::open(&options).await.expect("opens");
    store.insert(&scope("a"), vec![memory(1, "one")]).await.expect("stored");
    let session = async || {
        let mut connection = store.access.pool.acquire().await.expect("one");
        let asked = sqlx::query_scalar("SELECT pg_backend_pid()");
        asked.fetch_one(&mut *connection).await.map(|session: i32| session).expect("told")
    };
    let before = session().await;
    let other = open(server.url()).await;
    let mut holder = other.access.pool.acquire().await.expect("one");
    let held = "BEGIN; LOCK TABLE mcp_memory.entries";
    sqlx::raw_sql(held).execute(&mut *holder).await.expect("held");
    let error = store.size(&scope("a")).await.expect_err("it takes too long");
    assert!(matches!(error, StoreError::Database(_)), "{error}");
    assert!(error.to_string().contains("statement timeout"), "{error}");
    assert_eq!(store.circuit_breaker(), Some(State::Closed), "the database is well");
    sqlx::raw_sql("ROLLBACK").execute(&mut *holder).await.expect("let go");
    assert_eq!(store.size(&scope("a")).await.expect("counts"), 1);
    assert_eq!(session().await, before, "its connection is as good as before");
}

/// Changes nothing, by statements that each take a while.
struct Slow;

impl Write for Slow {
    type Written = ();
    const OPENS: bool = true;

    fn nothing() -> Self::Written {}

    async fn apply(&self, turn: &mut Turn<'_>) -> Result<Result<(), StoreError>, sqlx::Error> {
        for _ in 0..5 {
            sqlx::query("SELECT pg_sleep(0.5)").execute(&mut *turn.transaction).await?;
        }
        Ok(Ok(()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_that_are_slow_only_together_are_no_silent_database() {
    let server = database("off");
    let options = Options { deadline: Duration::from_secs(2), ..options(server.url()) };
    let store = PostgresStore::open(&options).await.expect("opens");
    store.access.write(&scope("a"), &Slow).await.expect("each statement is answered in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_left_in_a_failed_transaction_is_given_up() {
    let server = database("off");
    let mut options = options(server.url());
    options.pool = Pool { min_size: 1, max_size: 1 };
    let store = PostgresStore::open(&options).await.expect("opens");
    let mut only = store.access.pool.acquire().await.expect("one");
    sqlx::raw_sql("BEGIN; SELECT 1 / 0").execute(&mut *only).await.expect_err("no number");
    drop(only);
    assert_eq!(store.size(&scope("a")).await.expect("counts"), 0);
}
