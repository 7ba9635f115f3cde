//! What every store must do, as checks that run on any of them. Each check wants an empty store and panics with what
//! is wrong.

mod backups;
mod keys;

use super::{Store, StoreError, Vector};
use crate::model::{
    Archival, Archived, Before, Change, Changes, Draft, Entry, Filter, Key, Kind, MESSAGE_TYPE, Role, Scope,
    Session, Speaker, Survivor,
};
use crate::moment::Moment;
use backups::{
    a_backup_is_taken_in_once, a_message_that_is_taken_in_has_a_session, an_empty_store_takes_a_backup_in,
};
use futures::future::LocalBoxFuture;
use keys::{
    a_key_belongs_to_a_memory_or_to_a_message_of_a_session, a_key_is_kept_by_what_was_stored_without_one,
};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A scope of the tenant `t`.
pub fn scope(agent: &str) -> Scope {
    Scope::new("t", agent)
}

/// A memory with this id and content, stored at the instant `number`.
pub fn memory(number: i64, content: &str) -> Draft {
    Draft {
        entry: Entry {
            id: format!("m{number}"),
            speaker: None,
            session_id: None,
            memory_type: "general".into(),
            content: content.into(),
            context: None,
            importance: 0.5,
            created_at: Moment(number),
            updated_at: Moment(number),
            archived: None,
        },
        idempotency_key: None,
        analysis: vec![1, 2, 3],
    }
}

/// A memory that is stored under the idempotency key `k`.
pub fn keyed(number: i64, content: &str) -> Draft {
    Draft { idempotency_key: Some(Key::of("k", content)), ..memory(number, content) }
}

/// A message of a session.
pub fn message(session: &str, number: i64) -> Draft {
    let mut draft = memory(number, &format!("message {number}"));
    draft.entry.speaker = Some(Speaker { role: Role::User, user_id: Some("u".into()) });
    draft.entry.session_id = Some(session.into());
    draft.entry.memory_type = MESSAGE_TYPE.into();
    draft
}

/// A session with a fixed end.
pub fn session(id: &str, expires_at: i64) -> Session {
    Session {
        id: id.into(),
        user_id: None,
        metadata: serde_json::json!({"topic": "x"}).as_object().cloned(),
        created_at: Moment(0),
        expires_at: Moment(expires_at),
        fixed: true,
    }
}

/// A check of one store.
type Check<S> = for<'a> fn(&'a S) -> LocalBoxFuture<'a, ()>;

/// Runs every check, each on a store of its own.
pub async fn all<S: Store>(empty: impl AsyncFn() -> S) {
    // On the heap, one by one: together, and not optimised, they are more than a thread's stack holds.
    let checks: &[Check<S>] = &[
        |store| Box::pin(duplicates_are_recognised(store)),
        |store| Box::pin(a_key_is_kept_by_what_was_stored_without_one(store)),
        |store| Box::pin(a_key_belongs_to_a_memory_or_to_a_message_of_a_session(store)),
        |store| Box::pin(scopes_never_meet(store)),
        |store| Box::pin(filters_narrow_a_list(store)),
        |store| Box::pin(a_page_ends_before_it_grows_too_large(store)),
        |store| Box::pin(histories_are_read_backwards(store)),
        |store| Box::pin(sessions_end(store)),
        |store| Box::pin(every_change_is_told_once_and_in_order(store)),
        |store| Box::pin(what_is_read_together_is_what_is_read_one_by_one(store)),
        |store| Box::pin(a_change_made_of_an_old_state_is_refused(store)),
        |store| Box::pin(what_is_put_away_comes_back(store)),
        |store| Box::pin(what_is_merged_into_what_is_gone_stays(store)),
        |store| Box::pin(vectors_belong_to_a_text_and_a_model(store)),
        |store| Box::pin(everything_is_counted(store)),
        |store| Box::pin(a_backup_is_taken_in_once(store)),
        |store| Box::pin(an_empty_store_takes_a_backup_in(store)),
        |store| Box::pin(a_message_that_is_taken_in_has_a_session(store)),
    ];
    for check in checks {
        check(&empty().await).await;
    }
    Box::pin(writers_at_once_leave_no_gap(Arc::new(empty().await))).await;
}

async fn store_all<S: Store>(store: &S, scope: &Scope, drafts: Vec<Draft>) {
    store.insert(scope, drafts).await.expect("stored");
}

async fn recent<S: Store>(store: &S, scope: &Scope, filter: &Filter) -> Vec<String> {
    let page = store.recent(scope, filter, 100).await.expect("reads");
    page.items.into_iter().map(|entry| entry.id).collect()
}

/// A content, and an idempotency key, is stored once a scope.
pub async fn duplicates_are_recognised<S: Store>(store: &S) {
    let a = scope("a");
    let first = store
        .insert(&a, vec![memory(1, "tea"), memory(2, " tea\n"), memory(3, "milk")])
        .await
        .expect("stored");
    assert_eq!(first.iter().map(|it| it.duplicate).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!((first[1].id.as_str(), first[1].created_at), ("m1", Moment(1)));
    let mut dearer = memory(2, "tea");
    (dearer.entry.importance, dearer.entry.memory_type) = (1.0, "fact".into());
    let there = store.insert(&a, vec![dearer]).await.expect("answered").remove(0);
    assert_eq!((there.importance, there.memory_type.as_str()), (0.5, "general"), "as it is");
    let elsewhere = store.insert(&scope("b"), vec![memory(1, "tea")]).await.expect("stored");
    assert!(!elsewhere[0].duplicate, "another scope");

    let stored = store.insert(&a, vec![keyed(4, "juice")]).await.expect("stored");
    let again = store.insert(&a, vec![keyed(5, "juice")]).await.expect("answered");
    assert_eq!((again[0].id.as_str(), again[0].duplicate), (stored[0].id.as_str(), true));
    let reused = store.insert(&a, vec![memory(6, "water"), keyed(7, "wine")]).await;
    assert!(matches!(reused, Err(StoreError::KeyReused { .. })), "{reused:?}");
    assert_eq!(recent(store, &a, &Filter::default()).await, ["m4", "m3", "m1"], "nothing of a refused call");
    assert!(!store.insert(&scope("b"), vec![keyed(8, "wine")]).await.expect("stored")[0].duplicate);

    // What was deleted is forgotten, its key too.
    assert!(store.delete(&a, "m4").await.expect("deleted"));
    assert!(!store.insert(&a, vec![keyed(9, "juice")]).await.expect("stored")[0].duplicate);
    // A key stays with the content that it was used for, whatever became of that.
    let kept = store.get(&a, "m9").await.expect("reads").expect("there");
    let mut changed = memory(9, "beer");
    changed.entry.updated_at = Moment(20);
    store.replace(&a, (kept.number, kept.version), changed).await.expect("asked").expect("replaced");
    let again = store.insert(&a, vec![keyed(21, " juice")]).await.expect("answered");
    assert_eq!((again[0].id.as_str(), again[0].duplicate), ("m9", true));
    for other in ["beer", "wine"] {
        let reused = store.insert(&a, vec![keyed(22, other)]).await;
        assert!(matches!(reused, Err(StoreError::KeyReused { .. })), "{reused:?}");
    }
    let c = scope("c");
    let reused = store.insert(&c, vec![keyed(1, "juice"), keyed(2, "wine")]).await;
    assert!(matches!(reused, Err(StoreError::KeyReused { .. })), "in one call: {reused:?}");
    let twice = store.insert(&c, vec![keyed(1, "juice"), keyed(2, "juice")]).await.expect("stored");
    assert_eq!(twice.iter().map(|it| it.duplicate).collect::<Vec<_>>(), [false, true]);
    // Messages may repeat, but not under one key.
    let mut twice = message("s", 10);
    twice.idempotency_key = Some(Key::of("said", &twice.entry.content));
    let said = store.say(&a, twice.clone(), Moment(100)).await.expect("stored");
    twice.entry.id = "other".into();
    let again = store.say(&a, twice, Moment(100)).await.expect("answered");
    assert_eq!((again.inserted.id, again.inserted.duplicate), (said.inserted.id, true));
}

/// The memory `m1` of the agent `a`, stored by [`keyed`] with this content, is changed: the key stays with the content,
/// though its column was made anew.
#[cfg(test)]
pub(crate) async fn a_key_is_known_to_be_for<S: Store>(store: &S, content: &str) {
    let a = scope("a");
    let kept = store.get(&a, "m1").await.expect("reads").expect("there");
    let mut changed = memory(1, "changed");
    changed.entry.updated_at = Moment(2);
    store.replace(&a, (kept.number, kept.version), changed).await.expect("asked").expect("replaced");
    assert!(store.insert(&a, vec![keyed(2, content)]).await.expect("answered")[0].duplicate);
    let reused = store.insert(&a, vec![keyed(3, "changed")]).await;
    assert!(matches!(reused, Err(StoreError::KeyReused { .. })), "{reused:?}");
}

/// Whatever is asked for, only its own scope answers.
pub async fn scopes_never_meet<S: Store>(store: &S) {
    let scopes = [
        Scope::new("t", "a"),
        Scope::new("t", "A"),
        Scope::new("t", "a b"),
        Scope::new("u", "a"),
        Scope::new("a", "t"),
        Scope::new("t/a", ""),
    ];
    for scope in &scopes {
        store_all(store, scope, vec![memory(1, "the same words")]).await;
        store.begin(scope, session("s", 1000)).await.expect("begun");
        store.say(scope, message("s", 2), Moment(10)).await.expect("said");
    }
    // The first scope alone changes; no other sees anything of it.
    let (mine, others) = scopes.split_first().expect("scopes");
    let number = store.get(mine, "m1").await.expect("reads").expect("there").number;
    let before = others.iter().map(|scope| store.version(scope));
    let before = futures::future::try_join_all(before).await.expect("versions");
    store_all(store, mine, vec![memory(3, "only mine")]).await;
    store
        .archive(mine, "run", Moment(9), vec![Archival { number, version: 1, merged_into: None }])
        .await
        .expect("away");
    for (other, version) in others.iter().zip(before) {
        assert_eq!(store.version(other).await.expect("reads"), version);
        assert_eq!(recent(store, other, &Filter::default()).await, ["m2", "m1"], "{other:?}");
        assert!(store.get(other, "m3").await.expect("reads").is_none());
        assert!(!store.delete(other, "m3").await.expect("asked"));
        let foreign = store.get_many(other, &[number]).await.expect("reads");
        let own = store.get(other, "m1").await.expect("reads").expect("there").number;
        assert!(foreign.iter().all(|kept| kept.number == own), "{foreign:?}");
        assert_eq!(store.unarchive(other, None).await.expect("asked"), 0);
        assert_eq!(store.purge(other, Some("run")).await.expect("asked"), 0);
        if own != number {
            let stolen = store.replace(other, (number, 1), memory(1, "stolen")).await.expect("asked");
            assert_eq!(stolen, None);
        }
        store
            .keep_vectors(other, "m", vec![Vector { number, version: 2, values: vec![1.0] }])
            .await
            .expect("asked");
        let loaded = store.load(other, 0, Some("m"), 10).await.expect("loads");
        assert_eq!(loaded.len(), 2, "{other:?}");
        let history = store.history(other, "s", None, 10).await.expect("reads").expect("a session");
        assert_eq!(history.messages.items.len(), 1);
        assert_eq!(store.size(other).await.expect("counts"), 2);
    }
    assert_eq!(store.unarchive(mine, Some("run")).await.expect("back"), 1);
    let nobody = scope("nobody");
    assert!(recent(store, &nobody, &Filter::default()).await.is_empty());
    assert!(store.history(&nobody, "s", None, 10).await.expect("reads").is_none());
    assert!(store.session(&nobody, "s").await.expect("reads").is_none());
    assert_eq!(store.version(&nobody).await.expect("reads"), 0);
    assert_eq!(store.agents_with_session("t", "s", 10).await.expect("reads"), ["A", "a", "a b"]);
    assert_eq!(store.agents_with_session("u", "s", 10).await.expect("reads"), ["a"]);
    let statistics = store.statistics("u", None, Moment(0)).await.expect("counts");
    assert_eq!((statistics.memories, statistics.messages, statistics.sessions), (1, 1, 1));
    let listed = store.scopes(None, 100).await.expect("lists");
    let expected: BTreeSet<Scope> = scopes.into_iter().collect();
    assert_eq!(listed, expected.into_iter().collect::<Vec<_>>());
    let rest = store.scopes(Some(&listed[2]), 2).await.expect("lists");
    assert_eq!(rest, listed[3..5]);
    // However much others have written since.
    let own = store.recent_scopes(Some("u"), 1).await.expect("lists");
    assert_eq!(own, [Scope::new("u", "a")]);
    assert_eq!(store.recent_scopes(Some("t"), 9).await.expect("lists").len(), 3);
    assert_eq!(store.recent_scopes(None, 9).await.expect("lists").len(), 6);
}

/// Filters and limits, and every field as it was stored.
pub async fn filters_narrow_a_list<S: Store>(store: &S) {
    let a = scope("a");
    let drafts = (1..=6).map(|number| {
        let mut one = memory(number, &format!("word {number}"));
        one.entry.importance = f64::from(i32::try_from(number).expect("small")) / 10.0;
        one.entry.memory_type = if number % 2 == 0 { "even" } else { "odd" }.into();
        one.entry.session_id = (number > 4).then(|| "late".to_owned());
        one.entry.context = serde_json::json!({"number": number, "nul": "a\u{301}\"'"}).as_object().cloned();
        one
    });
    let drafts: Vec<Draft> = drafts.collect();
    store_all(store, &a, drafts.clone()).await;
    store.say(&a, message("late", 7), Moment(100)).await.expect("said");
    let cases = [
        (Filter::default(), vec![7, 6, 5, 4, 3, 2, 1]),
        (Filter { kind: Some(Kind::Memory), ..Filter::default() }, vec![6, 5, 4, 3, 2, 1]),
        (Filter { kind: Some(Kind::Message), ..Filter::default() }, vec![7]),
        (Filter { memory_type: Some("even".into()), ..Filter::default() }, vec![6, 4, 2]),
        (Filter { session_id: Some("late".into()), ..Filter::default() }, vec![7, 6, 5]),
        (Filter { min_importance: Some(0.4), ..Filter::default() }, vec![7, 6, 5, 4]),
        (Filter { since: Some(Moment(2)), until: Some(Moment(4)), ..Filter::default() }, vec![3, 2]),
    ];
    for (filter, numbers) in cases {
        let ids: Vec<String> = numbers.iter().map(|number| format!("m{number}")).collect();
        assert_eq!(recent(store, &a, &filter).await, ids, "{filter:?}");
        for number in 1..=6 {
            let entry = &drafts[number - 1].entry;
            assert_eq!(filter.accepts(entry), ids.contains(&entry.id), "{filter:?} {number}");
        }
    }
    let two = store.recent(&a, &Filter::default(), 2).await.expect("reads");
    assert_eq!((two.items.len(), two.truncated), (2, false));
    let kept = store.get(&a, "m6").await.expect("reads").expect("there");
    assert_eq!(kept.entry, drafts[5].entry);
}

/// A page is bounded in bytes.
pub async fn a_page_ends_before_it_grows_too_large<S: Store>(store: &S) {
    let a = scope("a");
    for number in 1..=5 {
        store_all(store, &a, vec![memory(number, &format!("{number} {}", "x ".repeat(1 << 20)))]).await;
    }
    let page = store.recent(&a, &Filter::default(), 10).await.expect("reads");
    assert_eq!((page.items.len(), page.truncated), (1, true));
}

/// The newest messages, oldest first, before a message or a time.
pub async fn histories_are_read_backwards<S: Store>(store: &S) {
    let a = scope("a");
    for number in 1..=5 {
        let said = store.say(&a, message("s", number), Moment(100 + number)).await.expect("stored");
        assert_eq!((said.begun, said.session.expires_at), (number == 1, Moment(100 + number)));
    }
    store.say(&a, message("other", 6), Moment(100)).await.expect("stored");
    let mut remembered = memory(7, "no message");
    remembered.entry.session_id = Some("s".into());
    store_all(store, &a, vec![remembered]).await;
    let ids = async |before: Option<Before>, limit| {
        let history =
            store.history(&a, "s", before.as_ref(), limit).await.expect("reads").expect("a session");
        history.messages.items.into_iter().map(|message| message.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(None, 3).await, ["m3", "m4", "m5"]);
    assert_eq!(ids(Some(Before::Message("m3".into())), 10).await, ["m1", "m2"]);
    assert_eq!(ids(Some(Before::Moment(Moment(2))), 10).await, ["m1"]);
    for id in ["m6", "m7", "none"] {
        let error =
            store.history(&a, "s", Some(&Before::Message(id.into())), 1).await.expect_err("elsewhere");
        assert_eq!(error.to_string(), format!("session \"s\" holds no message {id:?}"));
    }
    assert!(store.history(&a, "nobody's", None, 1).await.expect("reads").is_none());
    let history = store.history(&a, "s", None, 1).await.expect("reads").expect("a session");
    let speaker = Speaker { role: Role::User, user_id: Some("u".into()) };
    assert_eq!(history.messages.items[0].speaker, Some(speaker));
}

/// A fixed end is kept, an open one moves on.
pub async fn sessions_end<S: Store>(store: &S) {
    let a = scope("a");
    store.begin(&a, session("fixed", 10)).await.expect("stored");
    let said = store.say(&a, message("fixed", 9), Moment(1000)).await.expect("stored");
    assert_eq!((said.begun, said.session), (false, session("fixed", 10)));
    let error = store.say(&a, message("fixed", 10), Moment(1000)).await.expect_err("ended");
    assert_eq!(error.to_string(), "session \"fixed\" ended at 1970-01-01T00:00:00.000010Z");
    let history = store.history(&a, "fixed", None, 10).await.expect("reads").expect("still read");
    assert_eq!(history.messages.items.len(), 1);
    store.say(&a, message("open", 11), Moment(12)).await.expect("stored");
    let said = store.say(&a, message("open", 50), Moment(60)).await.expect("goes on");
    assert_eq!((said.begun, said.session.expires_at), (false, Moment(60)));
    assert_eq!(store.session(&a, "fixed").await.expect("reads"), Some(session("fixed", 10)));
}

/// A follower that pulls changes page by page ends with what a load gives.
pub async fn every_change_is_told_once_and_in_order<S: Store>(store: &S) {
    let a = scope("a");
    assert_eq!(store.changes_since(&a, 0, None, 10).await.expect("reads"), Changes::Next(Vec::new()));
    store_all(store, &a, (1..=6).map(|number| memory(number, &format!("word {number}"))).collect()).await;
    store.say(&a, message("s", 7), Moment(100)).await.expect("said");
    let kept =
        |id: &'static str| async move { store.get(&scope("a"), id).await.expect("reads").expect("there") };
    let second = kept("m2").await;
    store
        .replace(&a, (second.number, second.version), memory(2, "changed"))
        .await
        .expect("replaced")
        .expect("was there");
    assert!(store.delete(&a, "m3").await.expect("deleted"));
    let fourth = kept("m4").await;
    let away = Archival { number: fourth.number, version: fourth.version, merged_into: None };
    assert_eq!(store.archive(&a, "run", Moment(9), vec![away]).await.expect("put away"), 1);

    let mut seen = BTreeSet::new();
    let (mut version, mut told) = (0, Vec::new());
    loop {
        let Changes::Next(changes) = store.changes_since(&a, version, None, 2).await.expect("reads") else {
            panic!("too far behind");
        };
        let Some(last) = changes.last() else { break };
        assert!(changes.len() <= 2 && changes[0].version() > version);
        version = last.version();
        for change in changes {
            match &change {
                Change::Put(indexed) => seen.insert(indexed.number),
                Change::Gone { number, .. } => seen.remove(number),
            };
            told.push(change.version());
        }
    }
    assert_eq!(told, [1, 5, 6, 7, 8, 9, 10], "in order, each entry with its last change");
    assert_eq!(store.version(&a).await.expect("reads"), version);
    let loaded = store.load(&a, 0, None, 100).await.expect("loads");
    let numbers: Vec<u64> = loaded.iter().map(|indexed| indexed.number).collect();
    assert_eq!(numbers, seen.into_iter().collect::<Vec<_>>());
    assert_eq!(loaded.iter().map(|it| it.analysis.as_slice()).collect::<Vec<_>>(), [[1, 2, 3]; 5]);
    let rest = store.load(&a, numbers[1], None, 2).await.expect("loads");
    assert_eq!(rest.iter().map(|indexed| indexed.number).collect::<Vec<_>>(), numbers[2..4]);
    assert_eq!(store.size(&a).await.expect("counts"), 5);
    assert_eq!(
        store.changes_since(&a, version + 1, None, 1).await.expect("reads"),
        Changes::Reload,
        "from the future"
    );
    assert_eq!(store.recent_scopes(None, 5).await.expect("lists"), std::slice::from_ref(&a));
    let many = store.get_many(&a, &numbers).await.expect("reads");
    assert_eq!(many.len(), 5);
    assert!(store.get_many(&a, &[fourth.number]).await.expect("reads").is_empty(), "put away");
}

/// Whatever stands in it.
pub async fn what_is_read_together_is_what_is_read_one_by_one<S: Store>(store: &S) {
    let a = scope("a");
    let odd = "\"quoted\" \\ \u{1}\t\r\n\u{7f} \u{2028} \u{1f980} [1, {}]";
    let mut drafts: Vec<Draft> = (0..4).map(|number| memory(number, odd)).collect();
    for (draft, importance) in drafts.iter_mut().zip([0.0, 1.0 / 3.0, 0.1 + 0.2, 1.0]) {
        draft.entry.content += &draft.entry.id;
        draft.entry.importance = importance;
    }
    drafts[1].entry.context = serde_json::json!({odd: [odd, 0.5, null, {"deep": -3}]}).as_object().cloned();
    drafts[2].entry.session_id = Some(odd.into());
    drafts[3].entry.memory_type = odd.into();
    store_all(store, &a, drafts.clone()).await;
    let said = store.say(&a, message("s", 7), Moment(100)).await.expect("said");
    let mut one_by_one = Vec::new();
    for id in drafts.iter().map(|draft| &draft.entry.id).chain([&said.inserted.id]) {
        one_by_one.push(store.get(&a, id).await.expect("reads").expect("there"));
    }
    let entries: Vec<&Entry> = one_by_one[..4].iter().map(|kept| &kept.entry).collect();
    assert_eq!(entries, drafts.iter().map(|draft| &draft.entry).collect::<Vec<_>>());
    let numbers: Vec<u64> = one_by_one.iter().map(|kept| kept.number).collect();
    let mut together = store.get_many(&a, &numbers).await.expect("reads");
    together.sort_by_key(|kept| kept.number);
    assert_eq!(together, one_by_one);
}

/// Compare and swap.
pub async fn a_change_made_of_an_old_state_is_refused<S: Store>(store: &S) {
    let a = scope("a");
    store_all(store, &a, vec![memory(1, "one")]).await;
    let kept = store.get(&a, "m1").await.expect("reads").expect("there");
    let version = store.replace(&a, (kept.number, kept.version), memory(1, "two")).await.expect("asked");
    assert_eq!(version, Some(2));
    let late = store.replace(&a, (kept.number, kept.version), memory(1, "three")).await.expect("asked");
    assert_eq!(late, None);
    store.keep_analyses(&a, vec![(kept.number, 1, vec![9]), (kept.number, 2, vec![8])]).await.expect("kept");
    assert_eq!(store.load(&a, 0, None, 1).await.expect("loads")[0].analysis, [8]);
    assert_eq!(store.version(&a).await.expect("reads"), 2, "the text is the same");
    assert!(
        store.insert(&a, vec![memory(5, "two")]).await.expect("stored")[0].duplicate,
        "the new content counts"
    );
    assert!(
        !store.insert(&a, vec![memory(6, "one")]).await.expect("stored")[0].duplicate,
        "the old one is gone"
    );
}

/// Optimisations can be undone until they are purged.
pub async fn what_is_put_away_comes_back<S: Store>(store: &S) {
    let a = scope("a");
    store_all(store, &a, (1..=3).map(|number| memory(number, &format!("word {number}"))).collect()).await;
    let numbers: Vec<u64> =
        store.load(&a, 0, None, 9).await.expect("loads").iter().map(|it| it.number).collect();
    let archival = |index: usize| Archival {
        number: numbers[index],
        version: index as u64 + 1,
        merged_into: Some(Survivor { id: "m3".into(), number: numbers[2], version: 3 }),
    };
    assert_eq!(store.archive(&a, "first", Moment(7), vec![archival(0)]).await.expect("away"), 1);
    assert_eq!(
        store.archive(&a, "second", Moment(8), vec![archival(0), archival(1)]).await.expect("away"),
        1
    );
    let kept = store.get(&a, "m1").await.expect("reads").expect("still read by its id");
    let expected = Archived { at: Moment(7), run_id: "first".into(), merged_into: Some("m3".into()) };
    assert_eq!(kept.entry.archived, Some(expected));
    assert_eq!(recent(store, &a, &Filter::default()).await, ["m3"]);
    assert!(!store.insert(&a, vec![memory(4, "word 2")]).await.expect("stored")[0].duplicate);
    assert_eq!(store.unarchive(&a, Some("first")).await.expect("back"), 1);
    assert_eq!(recent(store, &a, &Filter::default()).await, ["m4", "m3", "m1"]);
    assert_eq!(store.purge(&a, None).await.expect("purged"), 1);
    assert_eq!(store.unarchive(&a, None).await.expect("asked"), 0);
    assert!(store.get(&a, "m2").await.expect("reads").is_none());
    assert_eq!(store.statistics("t", Some("a"), Moment(0)).await.expect("counts").memories, 3);
}

/// A survivor that is deleted, changed or put away in the meantime takes no duplicate along.
pub async fn what_is_merged_into_what_is_gone_stays<S: Store>(store: &S) {
    let a = scope("a");
    store_all(store, &a, (1..=8).map(|number| memory(number, &format!("word {number}"))).collect()).await;
    let loaded = store.load(&a, 0, None, 9).await.expect("loads");
    let merged = |from: usize, into: usize| Archival {
        number: loaded[from].number,
        version: loaded[from].version,
        merged_into: Some(Survivor {
            id: format!("m{}", into + 1),
            number: loaded[into].number,
            version: loaded[into].version,
        }),
    };
    assert!(store.delete(&a, "m1").await.expect("deleted"));
    let second = (loaded[1].number, loaded[1].version);
    store.replace(&a, second, memory(2, "changed")).await.expect("asked").expect("replaced");
    let third = Archival { merged_into: None, ..merged(2, 2) };
    assert_eq!(store.archive(&a, "other", Moment(8), vec![third]).await.expect("away"), 1);
    let all = vec![merged(4, 0), merged(5, 1), merged(6, 2), merged(7, 3)];
    assert_eq!(store.archive(&a, "run", Moment(9), all).await.expect("asked"), 1);
    assert_eq!(recent(store, &a, &Filter::default()).await, ["m7", "m6", "m5", "m4", "m2"]);
    let eighth = store.get(&a, "m8").await.expect("reads").expect("there").entry;
    assert_eq!(eighth.archived.and_then(|archived| archived.merged_into).as_deref(), Some("m4"));
}

/// A vector is dropped when its text changes, or when another model takes over.
pub async fn vectors_belong_to_a_text_and_a_model<S: Store>(store: &S) {
    let a = scope("a");
    store_all(store, &a, vec![memory(1, "one"), memory(2, "two"), memory(3, "three")]).await;
    let waiting = store.unembedded("x", 0, 2).await.expect("reads");
    assert_eq!(waiting.iter().map(|it| it.content.as_str()).collect::<Vec<_>>(), ["one", "two"]);
    let rest = store.unembedded("x", waiting[1].cursor, 2).await.expect("reads");
    assert_eq!((rest.len(), rest[0].content.as_str(), &rest[0].scope), (1, "three", &a));
    let vectors = waiting
        .iter()
        .map(|it| Vector { number: it.number, version: it.version, values: vec![0.6, -0.8] })
        .collect();
    store.keep_vectors(&a, "x", vectors).await.expect("kept");
    assert_eq!(store.version(&a).await.expect("reads"), 5, "followers see them");
    let dense = async |model| {
        let loaded = store.load(&scope("a"), 0, Some(model), 9).await.expect("loads");
        loaded.into_iter().map(|it| it.dense).collect::<Vec<_>>()
    };
    let vector = Some(vec![0.6, -0.8]);
    assert_eq!(dense("x").await, [vector.clone(), vector, None]);
    assert_eq!(dense("y").await, [None, None, None]);
    assert_eq!(store.unembedded("x", 0, 9).await.expect("reads").len(), 1);
    assert_eq!(store.unembedded("y", 0, 9).await.expect("reads").len(), 3);
    let kept = store.get(&a, "m1").await.expect("reads").expect("there");
    store
        .replace(&a, (kept.number, kept.version), memory(1, "other"))
        .await
        .expect("asked")
        .expect("was there");
    let late = Vector { number: kept.number, version: kept.version, values: vec![1.0, 0.0] };
    store.keep_vectors(&a, "x", vec![late]).await.expect("asked");
    assert_eq!(dense("x").await[0], None, "the text has changed");
}

/// Statistics of an agent and of a tenant.
pub async fn everything_is_counted<S: Store>(store: &S) {
    let empty = store.statistics("t", None, Moment(0)).await.expect("counts");
    assert_eq!((empty.memories, empty.messages, empty.oldest_memory), (0, 0, None));
    store_all(store, &scope("a"), vec![memory(3, "x"), memory(7, "y")]).await;
    store_all(store, &scope("b"), vec![memory(5, "x")]).await;
    let mut fact = memory(8, "z");
    fact.entry.memory_type = "fact".into();
    store_all(store, &scope("a"), vec![fact]).await;
    store.begin(&scope("a"), session("empty", 10)).await.expect("stored");
    store.say(&scope("a"), message("s", 1), Moment(100)).await.expect("stored");
    store.say(&scope("a"), message("s", 2), Moment(100)).await.expect("stored");
    let all = store.statistics("t", None, Moment(50)).await.expect("counts");
    assert!(all.store_bytes > Some(0));
    assert_eq!((all.memories, all.conversations, all.messages), (4, 1, 2));
    assert_eq!((all.sessions, all.active_sessions), (2, 1));
    assert_eq!(all.memories_by_type, [("fact".to_owned(), 1), ("general".to_owned(), 3)].into());
    assert_eq!((all.oldest_memory, all.newest_memory), (Some(Moment(3)), Some(Moment(8))));
    let of_b = store.statistics("t", Some("b"), Moment(50)).await.expect("counts");
    assert_eq!((of_b.memories, of_b.messages, of_b.sessions), (1, 0, 0));
    assert_eq!((of_b.oldest_memory, of_b.newest_memory), (Some(Moment(5)), Some(Moment(5))));
}

/// Versions count every change, whoever makes it.
pub async fn writers_at_once_leave_no_gap<S: Store>(store: Arc<S>) {
    let writers = (0..8).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for number in 0..25 {
                let mut draft = memory(number, &format!("word {number} of {writer}"));
                draft.entry.id = format!("{writer}-{number}");
                store.insert(&scope("a"), vec![draft]).await.expect("stored");
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("ends");
    }
    assert_eq!(store.version(&scope("a")).await.expect("reads"), 200);
    let Changes::Next(changes) = store.changes_since(&scope("a"), 0, None, 1000).await.expect("reads") else {
        panic!("not too far behind");
    };
    let versions: Vec<u64> = changes.iter().map(Change::version).collect();
    assert_eq!(versions, (1..=200).collect::<Vec<_>>());
}
