//! The store on a real PostgreSQL: what every store must do, and what a database that fails must not take.

mod bounds;
mod elsewhere;
mod failover;
mod logins;
mod pooler;

use super::turn::Turn;
use super::*;
use crate::store::conformance::{self, keyed, memory, message, scope};
use mcp_system_config::Retry;
use mcp_system_tests::databases::{self, Database, Relay};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn database(fsync: &str) -> Database {
    databases::postgres(&[("fsync", fsync), ("synchronous_commit", fsync)]).expect("a PostgreSQL")
}

pub(crate) fn options(url: &str) -> Options {
    let retry = Retry { attempts: 10, min_backoff_milliseconds: 20, max_backoff_milliseconds: 500 };
    let resilience =
        Resilience { failure_threshold: 1000, recovery_seconds: 1, retry, ..Resilience::default() };
    // The machine that tests run on may be busy.
    let patience = Duration::from_mins(1);
    Options {
        url: url.to_owned(),
        password: None,
        pool: Pool { min_size: 1, max_size: 6 },
        patience,
        deadline: Duration::from_mins(1),
        resilience,
        weaviate: None,
    }
}

async fn open(url: &str) -> PostgresStore {
    PostgresStore::open(&options(url)).await.expect("opens")
}

/// The URL of another database of the same server.
fn in_database(server: &str, name: &str) -> String {
    format!("{}/{name}", server.strip_suffix("/postgres").expect("a URL"))
}

/// A database of its own within one server.
fn another(server: &str, name: &str) -> String {
    databases::sql(server, &format!("CREATE DATABASE {name}")).expect("made");
    in_database(server, name)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_does_what_every_store_must_do() {
    let server = database("off");
    let count = AtomicUsize::new(0);
    conformance::all(async || {
        let name = format!("d{}", count.fetch_add(1, Ordering::Relaxed));
        open(&another(server.url(), &name)).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_character_comes_back() {
    let server = database("off");
    let store = open(server.url()).await;
    let strange = Scope::new("t\0\u{10FFFE}", "a\u{10FFFE}0");
    let mut draft = memory(1, "\0 nul \u{10FFFE} '&|!:*()\\ \u{1F600}");
    draft.entry.context = serde_json::json!({"\0": ["\0", 1e300, 0.1]}).as_object().cloned();
    draft.entry.session_id = Some("s\0".into());
    draft.idempotency_key = Some(Key::of("k\0", &draft.entry.content));
    store.insert(&strange, vec![draft.clone()]).await.expect("stored");
    assert_eq!(store.get(&strange, "m1").await.expect("reads").expect("there").entry, draft.entry);
    assert!(store.insert(&strange, vec![draft]).await.expect("answered")[0].duplicate);
    assert_eq!(store.scopes(None, 9).await.expect("lists"), std::slice::from_ref(&strange));
    // A content beyond what a tsvector holds is kept as well.
    let long = (0..300_000).map(|number| format!("w{number}")).collect::<Vec<_>>().join(" ");
    store.insert(&strange, vec![memory(2, &long)]).await.expect("stored");
    let filter = Filter::default();
    let wanted = Wanted { text: "'&| w17 !(", dense: None, filter: &filter, limit: 5 };
    let found = store.candidates(&strange, &wanted).await.expect("finds").expect("has an index");
    assert_eq!(found.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_finds_by_words_and_by_vectors() {
    let server = database("off");
    let store = open(server.url()).await;
    let a = scope("a");
    let texts = ["the harbour crane lifts ninety tons", "a recipe for soup", "ships wait at the quay"];
    let drafts = (1..).zip(texts).map(|(number, text)| memory(number, text)).collect();
    let inserted = store.insert(&a, drafts).await.expect("stored");
    store.insert(&scope("b"), vec![memory(1, "another crane")]).await.expect("stored");
    let vectors = [[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]];
    let vectors = inserted.iter().zip(vectors);
    let vectors =
        vectors.map(|(it, values)| Vector { number: it.number, version: it.version, values: values.into() });
    store.keep_vectors(&a, "m'odel", vectors.collect()).await.expect("kept");
    let filter = Filter::default();
    let find = async |text, dense: Option<&[f32]>, filter: &Filter, limit| {
        let wanted = Wanted { text, dense: dense.map(|vector| ("m'odel", vector)), filter, limit };
        let mut found = store.candidates(&scope("a"), &wanted).await.expect("finds").expect("has an index");
        found.sort_by_key(|offered| offered.number);
        let place = |number| inserted.iter().position(|it| it.number == number).expect("of this scope");
        found.iter().map(|it| place(it.number)).collect::<Vec<_>>()
    };
    assert_eq!(find("which cranes lift", None, &filter, 5).await, [0]);
    assert_eq!(find("nothing alike", Some(&[0.9, 0.1]), &filter, 2).await, [0, 2]);
    assert_eq!(find("soup", Some(&[0.9, 0.1]), &filter, 1).await, [0, 1]);
    let late = Filter { since: Some(Moment(2)), ..Filter::default() };
    assert_eq!(find("crane soup", Some(&[1.0, 0.0]), &late, 1).await, [1, 2]);
    let plan = databases::sql(
        server.url(),
        "SET enable_seqscan = off; EXPLAIN SELECT number FROM mcp_memory.vectors WHERE model = 'm''odel'
         ORDER BY vector::vector(2) <=> '[1,0]'::vector(2) LIMIT 1",
    );
    assert!(plan.expect("explains").contains("Index Scan using vectors_"), "HNSW is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_go_back_by_a_version_and_forward_again() {
    let server = database("off");
    let store = open(server.url()).await;
    store.insert(&scope("a"), vec![keyed(1, "kept")]).await.expect("stored");
    store.close().await;
    migrate(&options(server.url()), PRESENT - 1).await.expect("goes back");
    assert_eq!(
        databases::sql(server.url(), "SELECT content FROM mcp_memory.entries").expect("reads"),
        "kept"
    );
    let store = open(server.url()).await;
    let filter = Filter::default();
    let wanted = Wanted { text: "kept", dense: None, filter: &filter, limit: 5 };
    assert_eq!(store.candidates(&scope("a"), &wanted).await.expect("finds").expect("an index").len(), 1);
    conformance::a_key_is_known_to_be_for(&store, "kept").await;
    databases::sql(server.url(), "UPDATE mcp_memory.migration SET version = 99").expect("set");
    let error = PostgresStore::open(&options(server.url())).await.expect_err("newer");
    assert!(format!("{error:#}").contains("have version 99"), "{error:#}");
    assert!(migrate(&options(server.url()), 99).await.is_err());
}

/// Copies of one program go on beside those of the next, which has added to the tables.
#[tokio::test(flavor = "multi_thread")]
async fn tables_that_gain_columns_serve_who_knows_nothing_of_them() {
    let server = database("off");
    let options = Options { pool: Pool { min_size: 1, max_size: 1 }, ..options(server.url()) };
    let store = PostgresStore::open(&options).await.expect("opens");
    let (a, every) = (scope("a"), Filter::default());
    let use_all = async |number: i64| {
        let inserted =
            store.insert(&a, vec![memory(number, &format!("word {number}"))]).await.expect("stored");
        store.say(&a, message("s", number + 100), Moment(1000)).await.expect("said");
        let kept = store.get(&a, &inserted[0].id).await.expect("reads").expect("there");
        let changed = memory(number, &format!("changed {number}"));
        store.replace(&a, (kept.number, kept.version), changed).await.expect("asked").expect("replaced");
        store.get_many(&a, &[kept.number]).await.expect("reads");
        store.history(&a, "s", None, 9).await.expect("reads").expect("a session");
        store.recent(&a, &every, 9).await.expect("reads");
        store.load(&a, 0, None, 9).await.expect("loads");
        store.changes_since(&a, 0, None, 9).await.expect("reads");
        store.statistics("t", None, Moment(0)).await.expect("counts");
        store.scopes(None, 9).await.expect("lists");
        store.export_entries(&a, 0, 9).await.expect("exports");
        store.export_sessions(&a, None, 9).await.expect("exports");
        assert!(store.delete(&a, &inserted[0].id).await.expect("deletes"));
    };
    use_all(1).await;
    for table in ["scopes", "entries", "sessions", "tombstones", "vectors"] {
        sql(server.url(), &format!("ALTER TABLE mcp_memory.{table} ADD COLUMN later text"));
    }
    use_all(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_restores_at_the_same_time_one_begins() {
    let server = database("off");
    let store = Arc::new(open(server.url()).await);
    let restores = (0..6).map(|number| {
        let store = store.clone();
        tokio::spawn(async move {
            let scope = scope(&format!("agent {number}"));
            store.import(&scope, Vec::new(), vec![memory(1, "restored")], Onto::Nothing).await
        })
    });
    let restores: Vec<_> = restores.collect();
    let mut begun = 0;
    for restore in restores {
        match restore.await.expect("ends") {
            Ok(taken_in) => begun += taken_in.0,
            Err(error) => assert!(matches!(error, StoreError::NotEmpty), "{error}"),
        }
    }
    assert_eq!(begun, 1);
}

/// What a statement answers.
fn sql(url: &str, statement: &str) -> String {
    databases::sql(url, statement).expect("answers").trim().to_owned()
}

/// Blocks, while other threads go on.
#[track_caller]
fn until(is_so: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_mins(1), "not within a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What one of several writers stores.
fn word(number: i64, writer: usize) -> Draft {
    let mut draft = memory(number, &format!("word {number} of {writer}"));
    draft.entry.id = format!("{writer}-{number}");
    draft
}

/// Writers on two replicas at these URLs go on while `disturb` does its worst; then every acknowledged write is there, once.
async fn nothing_acknowledged_is_lost(urls: [&str; 2], disturb: impl AsyncFnOnce()) -> PostgresStore {
    nothing_is_lost(urls.map(options), disturb).await
}

/// The same by these options.
async fn nothing_is_lost(options: [Options; 2], disturb: impl AsyncFnOnce()) -> PostgresStore {
    let open = async |options: &Options| Arc::new(PostgresStore::open(options).await.expect("opens"));
    let stores = [open(&options[0]).await, open(&options[1]).await];
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let done = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let (store, acknowledged, done) =
                (stores[writer % 2].clone(), acknowledged.clone(), done.clone());
            tokio::spawn(async move {
                let mut number = 0;
                while done.load(Ordering::SeqCst) == 0 {
                    number += 1;
                    let draft = word(number, writer);
                    let id = draft.entry.id.clone();
                    if store.insert(&scope("a"), vec![draft]).await.is_ok() {
                        acknowledged.lock().expect("a lock").push(id);
                    }
                }
            })
        })
        .collect();
    disturb().await;
    // Until it works again.
    let before = acknowledged.lock().expect("a lock").len();
    while acknowledged.lock().expect("a lock").len() < before + 50 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    done.store(1, Ordering::SeqCst);
    for writer in writers {
        writer.await.expect("ends");
    }
    let [store, other] = stores.map(|store| Arc::into_inner(store).expect("ours alone"));
    other.close().await;
    let acknowledged = acknowledged.lock().expect("a lock").clone();
    let mut found = HashSet::new();
    let mut after = 0;
    loop {
        let page = store.export_entries(&scope("a"), after, 1000).await.expect("reads");
        let Some((last, _)) = page.last() else { break };
        after = last.number;
        for (kept, _) in page {
            assert!(found.insert(kept.entry.id.clone()), "{} is there twice", kept.entry.id);
        }
    }
    let lost: Vec<_> = acknowledged.iter().filter(|id| !found.contains(*id)).collect();
    assert!(lost.is_empty(), "{} of {} acknowledged are lost: {lost:?}", lost.len(), acknowledged.len());
    let version = store.version(&scope("a")).await.expect("reads");
    assert_eq!(version, found.len() as u64, "a version for each, without gaps");
    eprintln!("{} acknowledged, {} found", acknowledged.len(), found.len());
    store
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_killed_loses_nothing() {
    let mut server = database("on");
    let url = server.url().to_owned();
    nothing_acknowledged_is_lost([&url, &url], async || {
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            tokio::task::block_in_place(|| server.kill().and_then(|()| server.start()))
                .expect("killed and started");
        }
        tokio::task::block_in_place(|| server.restart()).expect("restarted");
    })
    .await
    .close()
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_cut_lose_nothing() {
    let server = database("on");
    let relay = Relay::before(server.url()).expect("a relay");
    let url = relay.in_url(server.url()).expect("a URL");
    nothing_acknowledged_is_lost([&url, server.url()], async || {
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(30)).await;
            relay.cut_open();
        }
        relay.cut();
        tokio::time::sleep(Duration::from_millis(300)).await;
        relay.mend();
    })
    .await
    .close()
    .await;
}

/// As when the machine of a database loses its power, or its place on the network: nobody says farewell.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_fall_silent_are_given_up() {
    let server = database("off");
    let relay = Relay::before(server.url()).expect("a relay");
    let url = relay.in_url(server.url()).expect("a URL");
    let pool = Pool { min_size: 2, max_size: 2 };
    let options = Options { pool, deadline: Duration::from_secs(2), ..options(&url) };
    let store = PostgresStore::open(&options).await.expect("opens");
    let write = async |number: i64| {
        let (a, drafts) = (scope("a"), vec![memory(number, &format!("word {number}"))]);
        let stored = tokio::time::timeout(Duration::from_mins(1), store.insert(&a, drafts)).await;
        stored.expect("no place is taken for ever").expect("stored");
    };
    write(1).await;
    // Both lie in the pool, and lead nowhere from now on.
    until(|| store.access.pool.num_idle() == 2);
    relay.silence_open();
    // Callers that give up first, as a check of health does, leave no place taken either.
    for _ in 0..2 {
        let given_up = tokio::time::timeout(Duration::from_millis(200), store.check()).await;
        given_up.expect_err("nothing is answered");
    }
    write(2).await;
    // Nor do those that fall silent while the pool takes them back.
    for _ in 0..2 {
        let lent = store.access.connection().await.expect("one");
        relay.silence_open();
        lent.settle(Ok(())).expect("it was answered");
    }
    write(3).await;
    relay.silence_open();
    write(4).await;
    assert_eq!(store.size(&scope("a")).await.expect("counts"), 4);
    assert_eq!(store.lives(), 0, "it is the same database");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_fall_silent_lose_nothing() {
    let server = database("on");
    let relay = Relay::before(server.url()).expect("a relay");
    let urls = [relay.in_url(server.url()).expect("a URL"), server.url().to_owned()];
    let options = urls.map(|url| Options { deadline: Duration::from_secs(2), ..options(&url) });
    nothing_is_lost(options, async || {
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            relay.silence_open();
        }
    })
    .await
    .close()
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_vanishes_holds_its_scope_for_a_minute_at_the_most() {
    let server = database("off");
    let store = open(server.url()).await;
    let told = "SELECT current_setting('idle_in_transaction_session_timeout')";
    let mut connection = store.access.pool.acquire().await.expect("one");
    let mut turn = Turn::begin(&mut connection, &scope("a"), true).await.expect("begins").expect("a scope");
    let within: String = sqlx::query_scalar(told).fetch_one(&mut *turn.transaction).await.expect("told");
    turn.give_up().await.expect("leaves nothing");
    let after: String = sqlx::query_scalar(told).fetch_one(&mut *connection).await.expect("told");
    assert_eq!((within.as_str(), after.as_str()), ("1min", "0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_holds_for_long_is_told_and_is_no_silent_database() {
    let server = database("off");
    let store = open(server.url()).await;
    let mut connection = store.access.pool.acquire().await.expect("one");
    let mut turn = Turn::begin(&mut connection, &scope("a"), true).await.expect("begins").expect("a scope");
    let told = sqlx::query_scalar("SELECT current_setting('lock_timeout')");
    let within: String = told.fetch_one(&mut *turn.transaction).await.expect("told");
    assert_eq!(within, "20s");
    let mut other = store.access.pool.acquire().await.expect("another");
    let wait = "BEGIN; SET LOCAL lock_timeout = '20ms'; LOCK TABLE mcp_memory.scopes";
    let error = sqlx::raw_sql(wait).execute(&mut *other).await.expect_err("it is held");
    assert!(matches!(Trouble::from(error), Trouble::Conflict(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_the_database_ends_for_their_idleness_are_replaced() {
    let idle = [("fsync", "off"), ("idle_session_timeout", "300ms")];
    let server = databases::postgres(&idle).expect("a PostgreSQL");
    let store = open(server.url()).await;
    let ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mcp-system-memory'";
    for number in 1..=3 {
        until(|| sql(server.url(), ours) == "0");
        let word = memory(number, &format!("word {number}"));
        store.insert(&scope("a"), vec![word]).await.expect("stored");
        until(|| sql(server.url(), ours) == "0");
        assert_eq!(store.size(&scope("a")).await.expect("counts"), number.cast_unsigned());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_told_and_ends_by_itself() {
    let mut server = database("off");
    let mut options = options(server.url());
    options.patience = Duration::from_secs(5);
    options.resilience = Resilience {
        failure_threshold: 2,
        recovery_seconds: 1,
        retry: Retry { attempts: 2, min_backoff_milliseconds: 1, max_backoff_milliseconds: 2 },
        ..Resilience::default()
    };
    let store = PostgresStore::open(&options).await.expect("opens");
    let metrics = Metrics::new("memory");
    store.show(&metrics);
    let shows = |state: u8| {
        let gathered = metrics.registry().gather();
        let text = prometheus::TextEncoder::new().encode_to_string(&gathered).expect("text");
        text.contains(&format!("mcp_memory_dependency_circuit_breaker_state{{dependency=\"store\"}} {state}"))
    };
    assert!(shows(0), "it is closed");
    tokio::task::block_in_place(|| server.stop()).expect("stopped");
    let mut told = Vec::new();
    while store.circuit_breaker() != Some(State::Open) {
        told.push(store.insert(&scope("a"), vec![memory(1, "x")]).await.expect_err("no database"));
    }
    assert!(told.iter().all(|error| matches!(error, StoreError::Unreachable(_))), "{told:?}");
    let refused = store.check().await.expect_err("left alone");
    assert!(matches!(refused, StoreError::LeftAlone { .. }), "{refused}");
    assert!(shows(2), "it is open");
    tokio::task::block_in_place(|| server.start()).expect("started");
    while store.insert(&scope("a"), vec![memory(1, "x")]).await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(store.size(&scope("a")).await.expect("counts"), 1);
    assert!(shows(0), "it is closed again");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_url_comes_from_a_file_or_a_variable_and_the_password_may_stand_apart() {
    let server = database("off");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), format!("{}\n", server.url())).expect("written");
    let mut settings = PostgresSettings { url_file: Some(file.path().into()), ..PostgresSettings::default() };
    let of = |settings: &PostgresSettings| Options::of(settings, &Resilience::default(), |_| None, None);
    assert_eq!(of(&settings).expect("a URL").url, server.url());
    settings.url_file = None;
    let error = of(&settings).expect_err("not set").to_string();
    assert!(error.contains("MCP_POSTGRES_URL") && error.contains("urlFile"), "{error}");

    let (before, after) = server.url().split_once('@').expect("a URL with a password");
    let (user, password) = before.rsplit_once(':').expect("a password");
    let apart = Options { password: Some(password.into()), ..options(&format!("{user}@{after}")) };
    PostgresStore::open(&apart).await.expect("opens").check().await.expect("works");
    let error = PostgresStore::open(&options("postgres//secret")).await.expect_err("no URL");
    assert!(!format!("{error:#}").contains("secret"), "{error:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_used_up_says_so() {
    let server = database("off");
    let mut options = options(server.url());
    options.pool = Pool { min_size: 1, max_size: 2 };
    options.patience = Duration::from_secs(5);
    let store = PostgresStore::open(&options).await.expect("opens");
    let held =
        [store.access.pool.acquire().await.expect("one"), store.access.pool.acquire().await.expect("two")];
    let error = store.check().await.expect_err("none left");
    assert!(matches!(error, StoreError::Busy { connections: 2 }), "{error}");
    assert_eq!(store.circuit_breaker(), Some(State::Closed), "the database is well");
    drop(held);
    store.check().await.expect("one is free");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_closes_though_its_database_is_gone() {
    let mut server = database("off");
    let store = open(server.url()).await;
    store.insert(&scope("a"), vec![memory(1, "one")]).await.expect("stored");
    server.kill().expect("killed");
    let closing = tokio::time::timeout(Duration::from_mins(1), store.close());
    closing.await.expect("it does not wait for a database that is not there");
}
