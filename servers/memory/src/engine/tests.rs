//! The engine on an embedded store: what is stored is found, at once, and nothing of others.

use super::*;
use crate::model::Kind;
use crate::store::conformance::{memory, message, scope};
use crate::store::postgres::PostgresStore;
use crate::store::sqlite::{Options, SqliteStore};
use std::path::Path;
use tempfile::TempDir;

pub(crate) fn capacity(index_bytes: usize) -> Capacity {
    let bounds = Bounds { entries: 100, ttl: std::time::Duration::from_mins(5) };
    Capacity { index_bytes, searches: bounds, memories: bounds }
}

async fn engine_in(directory: &Path, index_bytes: usize) -> Engine<SqliteStore> {
    let store = SqliteStore::open(directory, &Options::default()).await.expect("opens");
    Engine::new(Arc::new(store), capacity(index_bytes))
}

async fn fresh() -> (TempDir, Engine<SqliteStore>) {
    let directory = tempfile::tempdir().unwrap();
    let engine = engine_in(directory.path(), 1 << 30).await;
    (directory, engine)
}

pub(crate) fn search(query: &str) -> Search {
    let filter = Filter::default();
    Search { query: query.into(), limit: 10, filter, recency_weight: 0.0, importance_weight: 0.0 }
}

async fn store(engine: &Engine<SqliteStore>, agent: &str, number: i64, content: &str) {
    let entry = memory(number, content).entry;
    engine.store().insert(&scope(agent), vec![draft(entry, None)]).await.expect("stored");
}

async fn found(engine: &Engine<SqliteStore>, agent: &str, search: &Search) -> Vec<String> {
    let page = engine.search(&scope(agent), search, Moment(0)).await.expect("searches");
    page.items.iter().map(|found| found.kept.entry.id.clone()).collect()
}

#[tokio::test]
async fn a_fresh_write_is_found_at_once_and_a_deleted_one_no_more() {
    let (_directory, engine) = fresh().await;
    assert!(found(&engine, "a", &search("tea")).await.is_empty());
    store(&engine, "a", 1, "Ada prefers green tea").await;
    assert_eq!(found(&engine, "a", &search("tea")).await, ["m1"]);
    store(&engine, "a", 2, "The deployment is planned for Tuesday").await;
    assert_eq!(found(&engine, "a", &search("planning deployments")).await[0], "m2");
    assert!(found(&engine, "b", &search("tea")).await.is_empty());

    let kept = engine.store().get(&scope("a"), "m1").await.unwrap().unwrap();
    let changed = draft(Entry { content: "Ada prefers black coffee".into(), ..kept.entry }, None);
    engine.store().replace(&scope("a"), (kept.number, kept.version), changed).await.unwrap().unwrap();
    let page = engine.search(&scope("a"), &search("coffee"), Moment(0)).await.unwrap();
    assert_eq!(page.items[0].kept.entry.content, "Ada prefers black coffee");
    engine.store().delete(&scope("a"), "m1").await.unwrap();
    assert!(!found(&engine, "a", &search("coffee")).await.contains(&"m1".to_owned()));
}

#[tokio::test]
async fn what_was_never_analysed_is_analysed_and_kept() {
    let (_directory, engine) = fresh().await;
    let old = Draft { analysis: vec![255], ..memory(1, "Ada prefers green tea") };
    let none = Draft { analysis: Vec::new(), ..memory(2, "Bob is away on Tuesday") };
    engine.store().insert(&scope("a"), vec![old, none]).await.unwrap();
    assert_eq!(found(&engine, "a", &search("green tea")).await[0], "m1");
    let loaded = engine.store().load(&scope("a"), 0, None, 10).await.unwrap();
    assert!(loaded.iter().all(|row| Analysis::from_bytes(&row.analysis).is_some()));
}

#[tokio::test]
async fn filters_and_weights_choose_and_order() {
    let (_directory, engine) = fresh().await;
    for number in 1..=3 {
        let mut one = memory(number, &format!("the plan for the garden, part {number}")).entry;
        one.importance = f64::from(i32::try_from(number).unwrap()) / 4.0;
        one.created_at = Moment(number * 86_400_000_000);
        one.memory_type = if number == 2 { "note" } else { "plan" }.into();
        engine.store().insert(&scope("a"), vec![draft(one, None)]).await.unwrap();
    }
    let said = draft(message("garden", 4).entry, None);
    engine.store().say(&scope("a"), said, Moment(100)).await.unwrap();
    let plan = search("garden plan");
    let filtered = |filter: Filter| Search { filter, ..plan.clone() };
    let notes = filtered(Filter { memory_type: Some("note".into()), ..Filter::default() });
    assert_eq!(found(&engine, "a", &notes).await, ["m2"]);
    let vital = filtered(Filter { min_importance: Some(0.75), ..Filter::default() });
    assert_eq!(found(&engine, "a", &vital).await, ["m3"]);
    let late = filtered(Filter { since: Some(Moment(3 * 86_400_000_000)), ..Filter::default() });
    assert_eq!(found(&engine, "a", &late).await, ["m3"]);
    let messages =
        Search { filter: Filter { kind: Some(Kind::Message), ..Filter::default() }, ..search("message") };
    assert_eq!(found(&engine, "a", &messages).await, ["m4"]);
    let important = Search { importance_weight: 1.0, ..plan.clone() };
    assert_eq!(found(&engine, "a", &important).await, ["m3", "m2", "m1"]);
    let now = Moment(400 * 86_400_000_000);
    let recent = Search { recency_weight: 1.0, ..plan };
    let page = engine.search(&scope("a"), &recent, now).await.unwrap();
    assert_eq!(page.items[0].kept.entry.id, "m3");
    let parts = page.items[0].parts;
    let sum = parts.lexical + parts.vector + parts.soft + parts.dense + parts.neighbours;
    assert!((sum * parts.weight - page.items[0].score).abs() < 1e-4, "{parts:?}");
}

#[tokio::test]
async fn of_large_entries_no_more_are_read_than_an_answer_takes() {
    let (_directory, engine) = fresh().await;
    let large = "x".repeat(90_000);
    for number in 1..=60 {
        store(&engine, "a", number, &format!("green tea {number} {large}")).await;
    }
    let search = Search { limit: 200, ..search("green tea") };
    let page = engine.search(&scope("a"), &search, Moment(0)).await.unwrap();
    assert!(page.truncated && page.items.len() > 40, "{}", page.items.len());
    assert_eq!(engine.report().memories.misses, 50, "of those that were found");
}

#[tokio::test]
async fn an_answer_of_the_cache_is_never_older_than_the_store() {
    let (_directory, engine) = fresh().await;
    store(&engine, "a", 1, "Ada prefers green tea").await;
    let cached = async || {
        let (page, cached) = engine.search_cached(&scope("a"), &search("green tea")).await.unwrap();
        (page.items.len(), cached)
    };
    assert_eq!(cached().await, (1, false));
    assert_eq!(cached().await, (1, true));
    store(&engine, "b", 1, "Bob prefers green tea").await;
    assert_eq!(cached().await, (1, true), "another agent's write");
    store(&engine, "a", 2, "Ada drinks green tea in the morning").await;
    assert_eq!(cached().await, (2, false));
    assert_eq!(engine.clear_searches(|scope| &*scope.agent_id == "b"), 0);
    assert!(engine.clear_searches(|scope| &*scope.tenant == "t") >= 2);
    assert_eq!(cached().await, (2, false));
    let report = engine.report();
    assert_eq!((report.searches.hits, report.searches.misses), (2, 3));
}

#[tokio::test]
async fn three_engines_on_one_store_never_answer_from_an_old_state() {
    let (_directory, first) = fresh().await;
    let engines = [
        Engine::new(first.store().clone(), capacity(1 << 30)),
        Engine::new(first.store().clone(), capacity(1 << 30)),
        first,
    ];
    for number in 1..=30_i64 {
        let writer = &engines[usize::try_from(number).unwrap() % 3];
        store(writer, "a", number, &format!("green tea number {number}")).await;
        for engine in &engines {
            let search = Search { limit: 200, ..search("green tea") };
            let (page, _) = engine.search_cached(&scope("a"), &search).await.unwrap();
            assert_eq!(page.items.len(), usize::try_from(number).unwrap());
        }
    }
}

#[tokio::test]
async fn indexes_that_were_not_used_for_longest_make_room_and_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let engine = engine_in(directory.path(), 1).await;
    for agent in ["a", "b", "c"] {
        store(&engine, agent, 1, "green tea").await;
        assert_eq!(found(&engine, agent, &search("green tea")).await, ["m1"]);
        assert_eq!(engine.report().scopes, 1);
    }
    assert_eq!(found(&engine, "a", &search("green tea")).await, ["m1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_being_changed_keeps_no_other_waiting() {
    let (_directory, engine) = fresh().await;
    for agent in ["a", "b"] {
        store(&engine, agent, 1, "green tea").await;
        assert_eq!(found(&engine, agent, &search("green tea")).await, ["m1"]);
    }
    let (slot, _) = engine.slot(&scope("a")).await.unwrap().unwrap();
    let (started, changing_began) = tokio::sync::oneshot::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let changing = std::thread::spawn(move || {
        slot.write(|_| {
            started.send(()).unwrap();
            // Until the other end is dropped.
            let _ = ended.recv();
        });
    });
    changing_began.await.unwrap();
    store(&engine, "b", 2, "more green tea").await;
    let searching = tokio::spawn(async move {
        let found = found(&engine, "b", &search("green tea")).await;
        (found.len(), engine.report().scopes)
    });
    let searched = tokio::time::timeout(std::time::Duration::from_mins(1), searching).await;
    assert_eq!(searched.expect("it does not wait").unwrap(), (2, 2));
    drop(end);
    changing.join().unwrap();
}

#[tokio::test]
async fn an_optimisation_puts_away_and_can_be_undone() {
    let (_directory, engine) = fresh().await;
    for (number, content) in [
        (1, "Ada prefers green tea in the morning"),
        (2, "ada prefers green tea, in the morning!"),
        (3, "My cat sleeps all day"),
    ] {
        store(&engine, "a", number, content).await;
    }
    let mut dull = memory(4, "It rained a little").entry;
    dull.importance = 0.1;
    engine.store().insert(&scope("a"), vec![draft(dull, None)]).await.unwrap();
    let rules = Rules { compact_threshold: 0.9, archive_below: 0.2, old_before: Moment(1000) };
    let preview = engine.optimise(&scope("a"), rules, None).await.unwrap();
    assert_eq!((preview.examined, preview.merged, preview.aged_out, preview.archived), (4, 1, 1, 0));
    assert_eq!(preview.merges, [("m1".to_owned(), "m2".to_owned())], "the newest stays");
    let done = engine.optimise(&scope("a"), rules, Some("run")).await.unwrap();
    assert_eq!(done, Optimised { archived: 2, ..preview });
    assert_eq!(found(&engine, "a", &search("green tea in the morning")).await[0], "m2");
    assert!(found(&engine, "a", &search("rained")).await.iter().all(|id| id != "m4"));
    assert_eq!(engine.store().unarchive(&scope("a"), Some("run")).await.unwrap(), 2);
    assert!(found(&engine, "a", &search("rained")).await.contains(&"m4".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_that_is_too_large_for_memory_is_searched_by_the_database() {
    let database = mcp_system_tests::databases::postgres(&[("fsync", "off")]).expect("starts");
    let options = crate::store::postgres::tests::options(database.url());
    let store = PostgresStore::open(&options).await.expect("opens");
    let engine = Engine::new(Arc::new(store), capacity(1));
    let filler = (10..300).map(|number| memory(number, &format!("filler number {number}")).entry);
    let texts = [(1, "Ada prefers green tea"), (2, "The deployment is planned for Tuesday")];
    let entries = texts.map(|(number, text)| memory(number, text).entry).into_iter().chain(filler);
    let drafts = entries.map(|entry| draft(entry, None)).collect();
    engine.store().insert(&scope("a"), drafts).await.expect("stored");
    let best = async |query: &str, filter: Filter| {
        let page = engine.search(&scope("a"), &Search { filter, ..search(query) }, Moment(0)).await.unwrap();
        page.items.first().map(|found| found.kept.entry.id.clone())
    };
    assert_eq!(best("which tea does she like", Filter::default()).await.as_deref(), Some("m1"));
    assert_eq!(best("when are deployments planned", Filter::default()).await.as_deref(), Some("m2"));
    let none = Filter { memory_type: Some("none of this type".into()), ..Filter::default() };
    assert_eq!(best("tea", none).await, None);
    engine.warm().await;
    assert_eq!(engine.report().index_bytes, 0, "nothing of it is held");
}
