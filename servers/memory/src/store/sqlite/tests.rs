//! The embedded store, from the outside: values in, values out.

mod durability;

use super::*;
use crate::model::Role;
use crate::store::Store;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::sync::Arc;
use tempfile::TempDir;

async fn open(directory: &Path) -> SqliteStore {
    SqliteStore::open(directory, &Pool::default()).await.expect("opens")
}

async fn fresh() -> (TempDir, SqliteStore) {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    (directory, store)
}

fn memory(agent: &str, number: i64, content: &str) -> Memory {
    Memory {
        id: format!("{agent}-{number}"),
        agent_id: agent.into(),
        session_id: None,
        memory_type: "general".into(),
        content: content.into(),
        context: None,
        importance: 0.5,
        created_at: Moment(number),
    }
}

fn search(agent: &str, query: &str) -> Search {
    Search { agent_id: agent.into(), query: query.into(), limit: 10, filter: Filter::default() }
}

fn message(session: &str, number: i64) -> Message {
    Message {
        id: format!("m{number}"),
        session_id: session.into(),
        agent_id: "a".into(),
        user_id: Some("u".into()),
        role: Role::User,
        message: format!("message {number}"),
        created_at: Moment(number),
    }
}

fn session(id: &str, expires_at: i64) -> Session {
    Session {
        id: id.into(),
        agent_id: "a".into(),
        user_id: None,
        metadata: serde_json::json!({"topic": "x"}).as_object().cloned(),
        created_at: Moment(0),
        expires_at: Moment(expires_at),
        fixed: true,
    }
}

async fn found(store: &SqliteStore, search: &Search) -> Vec<String> {
    store.search(search).await.expect("searches").items.into_iter().map(|found| found.memory.id).collect()
}

#[tokio::test]
async fn the_best_memory_comes_first_and_forms_of_a_word_are_one() {
    let (_directory, store) = fresh().await;
    for (number, content) in [
        (1, "The deployment was planned for Tuesday"),
        (2, "Tuesday lunch is at noon"),
        (3, "The café plans: plan the deployment of the deployment"),
    ] {
        store.insert_memory(memory("a", number, content)).await.expect("stored");
    }
    assert_eq!(found(&store, &search("a", "planning deployments")).await, ["a-3", "a-1"]);
    assert_eq!(found(&store, &search("a", "CAFE")).await, ["a-3"]);
    assert_eq!(found(&store, &search("a", "what about TUESDAYS?")).await, ["a-2", "a-1"]);
    assert!(found(&store, &search("a", "nothing")).await.is_empty());
    let scores: Vec<f64> =
        store.search(&search("a", "deployment")).await.unwrap().items.iter().map(|it| it.score).collect();
    assert!(scores[0] > scores[1] && scores[1] > 0.0, "{scores:?}");
}

#[tokio::test]
async fn no_agent_finds_what_another_stored() {
    let (_directory, store) = fresh().await;
    for (agent, number) in [("a", 1), ("b", 1), ("a", 2), ("A", 1), ("a b", 1)] {
        store.insert_memory(memory(agent, number, "the same words")).await.expect("stored");
    }
    for (agent, ids) in [
        ("a", vec!["a-2", "a-1"]),
        ("b", vec!["b-1"]),
        ("A", vec!["A-1"]),
        ("a b", vec!["a b-1"]),
        ("c", vec![]),
    ] {
        assert_eq!(found(&store, &search(agent, "the same words")).await, ids, "{agent}");
        let recent = store.recent(agent, &Filter::default(), 10).await.expect("reads").items;
        assert_eq!(recent.iter().map(|memory| &memory.id).collect::<Vec<_>>(), ids, "{agent}");
    }
}

#[tokio::test]
async fn filters_narrow_a_search_and_a_list() {
    let (_directory, store) = fresh().await;
    for number in 1..=6 {
        let mut one = memory("a", number, "word");
        one.importance = f64::from(u32::try_from(number).unwrap()) / 10.0;
        one.memory_type = if number % 2 == 0 { "even" } else { "odd" }.into();
        one.session_id = (number > 4).then(|| "late".to_owned());
        one.context = serde_json::json!({"number": number}).as_object().cloned();
        store.insert_memory(one).await.expect("stored");
    }
    let cases = [
        (Filter::default(), vec![6, 5, 4, 3, 2, 1]),
        (Filter { memory_type: Some("even".into()), ..Filter::default() }, vec![6, 4, 2]),
        (Filter { session_id: Some("late".into()), ..Filter::default() }, vec![6, 5]),
        (Filter { min_importance: Some(0.3), ..Filter::default() }, vec![6, 5, 4, 3]),
        (Filter { since: Some(Moment(2)), until: Some(Moment(4)), ..Filter::default() }, vec![3, 2]),
    ];
    for (filter, numbers) in cases {
        let ids: Vec<String> = numbers.iter().map(|number| format!("a-{number}")).collect();
        let one = Search { filter: filter.clone(), ..search("a", "word") };
        assert_eq!(found(&store, &one).await, ids, "{filter:?}");
        let recent = store.recent("a", &filter, 10).await.expect("reads").items;
        assert_eq!(
            recent.iter().map(|memory| &memory.id).collect::<Vec<_>>(),
            ids.iter().collect::<Vec<_>>()
        );
    }
    assert_eq!(found(&store, &Search { limit: 2, ..search("a", "word") }).await, ["a-6", "a-5"]);
    let read = store.recent("a", &Filter::default(), 1).await.unwrap().items.remove(0);
    assert_eq!(read.context, serde_json::json!({"number": 6}).as_object().cloned());
    assert_eq!((read.importance, read.created_at), (0.6, Moment(6)));
}

#[tokio::test]
async fn the_context_is_searched_with_less_weight_than_the_content() {
    let (_directory, store) = fresh().await;
    let mut aside = memory("a", 2, "something else");
    aside.context = serde_json::json!({"project": "apollo"}).as_object().cloned();
    store.insert_memory(aside).await.expect("stored");
    store.insert_memory(memory("a", 1, "apollo something")).await.expect("stored");
    assert_eq!(found(&store, &search("a", "Apollo")).await, ["a-1", "a-2"]);
}

#[test]
fn no_text_makes_a_search_fail() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (_directory, store) = runtime.block_on(async {
        let (directory, store) = fresh().await;
        store.insert_memory(memory("a", 1, "needle in a haystack")).await.expect("stored");
        (directory, store)
    });
    let check = |text: &str| {
        runtime.block_on(async {
            store.search(&search("a", text)).await.map_err(|error| format!("{text:?}: {error}"))?;
            // Whatever surrounds it, a word is found.
            match found(&store, &search("a", &format!("needle {text}"))).await.as_slice() {
                [one] if one == "a-1" => Ok(()),
                other => Err(format!("{text:?}: {other:?}")),
            }
        })
    };
    for text in [
        "",
        "\"",
        "\"\"\"",
        "'; DROP TABLE memories; --",
        "NEAR(a b, 3)",
        "AND OR NOT",
        "content:x ^y z*",
        "(((((",
        "🎉 👩‍👩‍👧 \u{200d}",
        "ⓐ ⓑ",
        "\u{0} a\u{0}b",
        "nul\u{0}",
        "日本語 عربى हिन्दी",
        &"garbage \"( ".repeat(1000),
        &"x".repeat(10_000),
        &(0..3000).fold(String::new(), |text, n| format!("{text}{n} ")),
    ] {
        check(text).unwrap();
    }
    TestRunner::default().run(&any::<String>(), |text| check(&text).map_err(TestCaseError::fail)).unwrap();
}

#[tokio::test]
async fn a_page_ends_before_it_grows_too_large() {
    let (_directory, store) = fresh().await;
    for number in 1..=5 {
        store.insert_memory(memory("a", number, &"x ".repeat(1 << 20))).await.expect("stored");
    }
    let page = store.recent("a", &Filter::default(), 10).await.expect("reads");
    assert_eq!((page.items.len(), page.truncated), (1, true));
    assert!(!store.recent("a", &Filter::default(), 1).await.unwrap().truncated);
}

#[tokio::test]
async fn a_history_is_the_newest_messages_oldest_first() {
    let (_directory, store) = fresh().await;
    for number in 1..=5 {
        let said = store.insert_message(message("s", number), Moment(100 + number)).await.expect("stored");
        assert_eq!((said.begun, said.session.expires_at), (number == 1, Moment(100 + number)));
    }
    store.insert_message(message("other", 6), Moment(100)).await.expect("stored");
    let ids = async |before: Option<Before>, limit| {
        let history = store.history("s", before.as_ref(), limit).await.expect("reads").expect("a session");
        history.messages.items.into_iter().map(|message| message.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(None, 3).await, ["m3", "m4", "m5"]);
    assert_eq!(ids(Some(Before::Message("m3".into())), 10).await, ["m1", "m2"]);
    assert_eq!(ids(Some(Before::Moment(Moment(2))), 10).await, ["m1"]);
    let error = store.history("s", Some(&Before::Message("m6".into())), 1).await.expect_err("elsewhere");
    assert_eq!(error.to_string(), "session \"s\" holds no message \"m6\"");
    assert!(store.history("nobody's", None, 1).await.expect("reads").is_none());
}

#[tokio::test]
async fn a_fixed_end_is_kept_and_an_open_one_moves_on() {
    let (_directory, store) = fresh().await;
    store.insert_session(session("fixed", 10)).await.expect("stored");
    let said = store.insert_message(message("fixed", 9), Moment(1000)).await.expect("stored");
    assert_eq!((said.begun, said.session), (false, session("fixed", 10)));
    let error = store.insert_message(message("fixed", 10), Moment(1000)).await.expect_err("ended");
    assert_eq!(error.to_string(), "session \"fixed\" ended at 1970-01-01T00:00:00.000010Z");
    let history = store.history("fixed", None, 10).await.unwrap().expect("still read");
    assert_eq!(history.messages.items.len(), 1);

    store.insert_message(message("open", 11), Moment(12)).await.expect("stored");
    let said = store.insert_message(message("open", 50), Moment(60)).await.expect("goes on");
    assert_eq!((said.begun, said.session.expires_at), (false, Moment(60)));
}

#[tokio::test]
async fn what_is_there_is_counted() {
    let (_directory, store) = fresh().await;
    assert_eq!(
        Statistics { store_bytes: 0, ..store.statistics(None, Moment(0)).await.expect("counts") },
        Statistics::default()
    );
    for (agent, number) in [("a", 3), ("a", 7), ("b", 5)] {
        store.insert_memory(memory(agent, number, "x")).await.expect("stored");
    }
    store.insert_memory(Memory { memory_type: "fact".into(), ..memory("a", 8, "x") }).await.expect("stored");
    store.insert_session(session("empty", 10)).await.expect("stored");
    store.insert_message(message("s", 1), Moment(100)).await.expect("stored");
    store.insert_message(message("s", 2), Moment(100)).await.expect("stored");
    let all = store.statistics(None, Moment(50)).await.expect("counts");
    assert!(all.store_bytes > 0);
    let counts = |statistics: &Statistics| {
        let Statistics { memories, conversations, messages, sessions, active_sessions, .. } = *statistics;
        [memories, conversations, messages, sessions, active_sessions]
    };
    assert_eq!(counts(&all), [4, 1, 2, 2, 1]);
    assert_eq!(all.memories_by_type, [("fact".to_owned(), 1), ("general".to_owned(), 3)].into());
    assert_eq!((all.oldest_memory, all.newest_memory), (Some(Moment(3)), Some(Moment(8))));
    let of_b = store.statistics(Some("b"), Moment(50)).await.expect("counts");
    assert_eq!(counts(&of_b), [1, 0, 0, 0, 0]);
    assert_eq!((of_b.oldest_memory, of_b.newest_memory), (Some(Moment(5)), Some(Moment(5))));
    assert_eq!(counts(&store.statistics(Some("c"), Moment(50)).await.unwrap()), [0; 5]);
}

#[tokio::test]
async fn a_refused_write_takes_none_of_its_neighbours_with_it() {
    let (_directory, store) = fresh().await;
    let store = Arc::new(store);
    // Every tenth id is there twice, which the database refuses.
    let writes = (0..200).map(|number| {
        let store = store.clone();
        let id = if number % 10 == 9 { number - 1 } else { number };
        tokio::spawn(async move { store.insert_memory(memory("a", id, "word")).await.is_ok() })
    });
    let mut accepted = 0;
    for write in writes.collect::<Vec<_>>() {
        accepted += u64::from(write.await.unwrap());
    }
    assert_eq!(accepted, 180);
    assert_eq!(store.statistics(Some("a"), Moment(0)).await.unwrap().memories, 180);
}

#[tokio::test]
async fn what_was_stored_is_there_when_the_store_opens_again() {
    let (directory, store) = fresh().await;
    store.insert_memory(memory("a", 1, "kept")).await.expect("stored");
    let refused = SqliteStore::open(directory.path(), &Pool::default()).await.expect_err("held");
    assert!(format!("{refused:#}").contains("another memory server"), "{refused:#}");
    store.close().await;
    assert!(matches!(store.insert_memory(memory("a", 2, "late")).await, Err(StoreError::Closed)));
    assert!(matches!(store.check().await, Err(StoreError::Closed)));
    drop(store);
    let store = open(directory.path()).await;
    store.check().await.expect("answers");
    assert_eq!(found(&store, &search("a", "kept")).await, ["a-1"]);
}

#[tokio::test]
async fn the_index_follows_deletions_and_changes() {
    let (_directory, store) = fresh().await;
    for number in 1..=2 {
        store.insert_memory(memory("a", number, "before")).await.expect("stored");
    }
    let mut connection =
        sqlx::ConnectOptions::connect(&SqliteConnectOptions::new().filename(&store.file)).await.unwrap();
    for statement in [
        "DELETE FROM memories WHERE id = 'a-1'",
        "UPDATE memories SET content = 'after' WHERE id = 'a-2'",
        "INSERT INTO memories_fts (memories_fts, rank) VALUES ('integrity-check', 1)",
    ] {
        sqlx::query(statement).execute(&mut connection).await.expect(statement);
    }
    assert!(found(&store, &search("a", "before")).await.is_empty());
    assert_eq!(found(&store, &search("a", "after")).await, ["a-2"]);
}
