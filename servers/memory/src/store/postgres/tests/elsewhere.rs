//! Weaviate as the index of the vectors: what every store must do, and what a Weaviate that is down must not take.

use super::*;
use mcp_system_tests::databases::{Access, weaviate};
use mcp_system_weaviate::{Connection, Weaviate};

fn client(url: &str) -> Arc<Weaviate> {
    client_for(url, Duration::from_secs(20))
}

fn client_for(url: &str, deadline: Duration) -> Arc<Weaviate> {
    let retry = Retry { attempts: 2, min_backoff_milliseconds: 5, max_backoff_milliseconds: 20 };
    let resilience =
        Resilience { failure_threshold: 1000, recovery_seconds: 1, retry, ..Resilience::default() };
    let connection =
        Connection { url: url.to_owned(), api_key: None, deadline, max_answer_bytes: 8 << 20, resilience };
    Arc::new(Weaviate::new(&connection).expect("a client"))
}

async fn open_with(url: &str, weaviate: &Arc<Weaviate>) -> PostgresStore {
    let options = Options { weaviate: Some(weaviate.clone()), ..options(url) };
    PostgresStore::open(&options).await.expect("opens")
}

/// Stores texts with vectors, and gives the entries' numbers.
async fn fill(store: &PostgresStore, agent: &str, model: &str, vectors: &[[f32; 2]]) -> Vec<u64> {
    let drafts = (1..).zip(vectors).map(|(number, _)| memory(number, &format!("text {number} of {agent}")));
    let inserted = store.insert(&scope(agent), drafts.collect()).await.expect("stored");
    let vectors = inserted.iter().zip(vectors);
    let vectors = vectors.map(|(it, values)| Vector {
        number: it.number,
        version: it.version,
        values: values.to_vec(),
    });
    store.keep_vectors(&scope(agent), model, vectors.collect()).await.expect("kept");
    inserted.iter().map(|it| it.number).collect()
}

/// The numbers that are offered for a vector, sorted.
async fn offered(store: &PostgresStore, agent: &str, model: &str, vector: &[f32], limit: u32) -> Vec<u64> {
    let filter = Filter::default();
    let wanted = Wanted { text: "nothing alike", dense: Some((model, vector)), filter: &filter, limit };
    let found = store.candidates(&scope(agent), &wanted).await.expect("finds").expect("has an index");
    let mut numbers: Vec<u64> = found.iter().map(|row| row.number).collect();
    numbers.sort_unstable();
    numbers
}

/// Waits until the database has nothing more to tell.
fn told(url: &str) {
    let open = "SELECT (SELECT count(*) FROM mcp_memory.vectors WHERE NOT told)
        + (SELECT count(*) FROM mcp_memory.vectors_gone)";
    for _ in 0..600 {
        if databases::sql(url, open).expect("reads") == "0" {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("Weaviate is not told of everything");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_does_what_every_store_must_do_with_weaviate_beside_it() {
    let (server, vectors) = (database("off"), weaviate(Access::Anonymous).expect("a Weaviate"));
    let weaviate = client(vectors.url());
    let count = AtomicUsize::new(0);
    conformance::all(async || {
        let name = format!("d{}", count.fetch_add(1, Ordering::Relaxed));
        open_with(&another(server.url(), &name), &weaviate).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn weaviate_finds_by_vectors_and_follows_what_becomes_of_them() {
    let (server, mut vectors) = (database("off"), weaviate(Access::Anonymous).expect("a Weaviate"));
    let weaviate = client(vectors.url());
    let store = open_with(server.url(), &weaviate).await;
    let a = fill(&store, "a", "m", &[[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]]).await;
    let b = fill(&store, "b", "m", &[[1.0, 0.0]]).await;
    told(server.url());
    assert_eq!(offered(&store, "a", "m", &[0.9, 0.1], 2).await, [a[0], a[2]]);
    assert_eq!(offered(&store, "b", "m", &[0.9, 0.1], 2).await, b, "another scope");
    assert!(offered(&store, "a", "another", &[0.9, 0.1], 2).await.is_empty(), "another model");
    let indexes =
        "SELECT count(*) FROM pg_indexes WHERE indexname LIKE 'vectors\\_%' AND indexdef LIKE '%hnsw%'";
    assert_eq!(databases::sql(server.url(), indexes).expect("reads"), "0", "the database has no such index");

    // What is gone is offered no more, at once, and is gone from Weaviate too.
    let ids = async |model: &str| {
        let schema = weaviate.schema().await.expect("a schema");
        let mut count = 0;
        for collection in schema.collections {
            if collection.definition["description"]
                .as_str()
                .is_some_and(|it| it.contains(&format!("model {model};")))
            {
                let query =
                    format!("{{ Get {{ {}(limit: 99) {{ _additional {{ id }} }} }} }}", collection.name);
                count += weaviate.search(&collection.name, &query).await.expect("lists").len();
            }
        }
        count
    };
    assert_eq!(ids("m").await, 4);
    assert!(store.delete(&scope("a"), "m1").await.expect("deleted"));
    assert!(
        !offered(&store, "a", "m", &[0.9, 0.1], 1).await.contains(&a[0]),
        "whether Weaviate knows or not"
    );
    told(server.url());
    assert_eq!(ids("m").await, 3);
    assert_eq!(offered(&store, "a", "m", &[0.9, 0.1], 1).await, [a[2]]);

    // It is down: searches go by words, writes go on, and all is told once it is back.
    vectors.kill().expect("killed");
    assert!(offered(&store, "a", "m", &[0.9, 0.1], 3).await.is_empty());
    let c = fill(&store, "c", "m", &[[1.0, 0.0], [0.6, 0.8]]).await;
    let filter = Filter::default();
    let wanted = Wanted { text: "text 2", dense: Some(("m", &[1.0, 0.0])), filter: &filter, limit: 9 };
    assert_eq!(store.candidates(&scope("c"), &wanted).await.expect("finds").expect("offers").len(), 2);
    vectors.start().expect("starts again");
    told(server.url());
    assert_eq!(offered(&store, "c", "m", &[1.0, 0.0], 1).await, [c[0]]);

    // Another model takes the place of this one.
    let kept = store.load(&scope("c"), 0, None, 9).await.expect("loads");
    let again = kept.iter().map(|row| Vector {
        number: row.number,
        version: row.version,
        values: vec![0.0, 1.0, 0.0],
    });
    store.keep_vectors(&scope("c"), "n", again.collect()).await.expect("kept");
    told(server.url());
    assert_eq!((ids("m").await, ids("n").await), (3, 2));
    assert_eq!(offered(&store, "c", "n", &[0.0, 1.0, 0.0], 9).await, c);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_that_is_lost_is_made_and_filled_again() {
    let (server, vectors) = (database("off"), weaviate(Access::Anonymous).expect("a Weaviate"));
    let weaviate = client(vectors.url());
    let store = open_with(server.url(), &weaviate).await;
    let lose_all = async || {
        for collection in weaviate.schema().await.expect("a schema").collections {
            weaviate.delete_collection(&collection.name).await.expect("deleted");
        }
    };
    let a = fill(&store, "a", "m", &[[1.0, 0.0], [0.0, 1.0]]).await;
    told(server.url());
    lose_all().await;
    // Whoever tells of another vector misses it,
    let b = fill(&store, "b", "m", &[[1.0, 0.0]]).await;
    told(server.url());
    assert_eq!(offered(&store, "a", "m", &[0.9, 0.1], 1).await, [a[0]]);
    assert_eq!(offered(&store, "b", "m", &[0.9, 0.1], 1).await, b);
    // and so does whoever searches. What is to be forgotten of it is no hindrance.
    lose_all().await;
    assert!(store.delete(&scope("a"), "m2").await.expect("deleted"));
    assert!(offered(&store, "a", "m", &[0.9, 0.1], 1).await.is_empty());
    for _ in 0..600 {
        if offered(&store, "a", "m", &[0.9, 0.1], 1).await == [a[0]] {
            return told(server.url());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it is not filled again");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_writes_waits_for_weaviate() {
    let server = database("off");
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", silent.local_addr().expect("an address"));
    let store = open_with(server.url(), &client_for(&url, Duration::from_mins(10))).await;
    fill(&store, "a", "m", &[[1.0, 0.0], [0.0, 1.0]]).await;
    // It is being told, and does not answer.
    let _held = silent.accept().await.expect("somebody tells");
    let writing = async {
        assert!(store.delete(&scope("a"), "m1").await.expect("deleted"));
        let second = store.get(&scope("a"), "m2").await.expect("reads").expect("there");
        let place = (second.number, second.version);
        store.replace(&scope("a"), place, memory(2, "changed")).await.expect("asked").expect("replaced");
    };
    tokio::time::timeout(Duration::from_mins(1), writing).await.expect("it does not wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_falls_silent_is_given_up_by_whoever_tells_weaviate() {
    let server = database("off");
    let relay = Relay::before(server.url()).expect("a relay");
    let options = Options {
        // None is left where one is held.
        pool: Pool { min_size: 1, max_size: 1 },
        deadline: Duration::from_secs(5),
        weaviate: Some(client("http://127.0.0.1:9")),
        ..options(&relay.in_url(server.url()).expect("a URL"))
    };
    let store = PostgresStore::open(&options).await.expect("opens");
    let mut other = <PgConnection as sqlx::Connection>::connect(server.url()).await.expect("connects");
    let held = "BEGIN; LOCK TABLE mcp_memory.vectors_gone";
    sqlx::raw_sql(held).execute(&mut other).await.expect("held");
    fill(&store, "a", "m", &[[1.0, 0.0]]).await;
    let waits = "SELECT count(*) FROM pg_stat_activity
        WHERE application_name = 'mcp-system-memory' AND wait_event_type = 'Lock'";
    until(|| sql(server.url(), waits) == "1");
    relay.silence_open();
    store.check().await.expect("another connection takes its place");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_large_collection_that_is_lost_each_vector_is_told_of_again() {
    let server = database("off");
    let store = open(server.url()).await;
    for statement in [
        "INSERT INTO mcp_memory.scopes (tenant, agent_id) VALUES ('t', 'a')",
        "INSERT INTO mcp_memory.entries
             (number, scope, version, id, memory_type, content, importance, created_at, updated_at)
         SELECT (s.number << 40) + n, s.number, n, 'm' || n, 'general', 'text', 0.5, n, n
         FROM mcp_memory.scopes AS s, generate_series(1, 20005) AS n",
        "INSERT INTO mcp_memory.vectors (number, scope, model, vector, told)
         SELECT number, scope, CASE WHEN version % 5 = 0 THEN 'other' ELSE 'm' END, '[1,0]'::vector, true
         FROM mcp_memory.entries",
    ] {
        sql(server.url(), statement);
    }
    let mut lent = store.access.connection().await.expect("one");
    weaviate::untell(&store.access, &mut lent, "m", 2).await.expect("noted");
    let untold = "SELECT model, count(*) FROM mcp_memory.vectors WHERE NOT told GROUP BY model";
    assert_eq!(sql(server.url(), untold), "m|16004");
}
