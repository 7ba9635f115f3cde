//! What every store must do with a backup.

use super::{keyed, memory, message, scope, session, store_all};
use crate::model::{Archival, Draft, Key};
use crate::moment::Moment;
use crate::store::{Onto, Store, StoreError};

/// What is exported is imported, once.
pub(super) async fn a_backup_is_taken_in_once<S: Store>(store: &S) {
    let (from, to) = (scope("from"), scope("to"));
    store_all(store, &from, vec![keyed(1, "first"), memory(2, "two")]).await;
    let first = store.get(&from, "m1").await.expect("reads").expect("there");
    let mut changed = memory(1, "one");
    changed.entry.updated_at = Moment(2);
    store.replace(&from, (first.number, first.version), changed).await.expect("asked").expect("replaced");
    store.say(&from, message("s", 3), Moment(100)).await.expect("said");
    let second = store.get(&from, "m2").await.expect("reads").expect("there");
    let away = Archival { number: second.number, version: second.version, merged_into: None };
    store.archive(&from, "run", Moment(9), vec![away]).await.expect("put away");
    let entries = store.export_entries(&from, 0, 100).await.expect("exports");
    assert_eq!(entries.len(), 3);
    assert_eq!(store.export_entries(&from, entries[1].0.number, 9).await.expect("exports").len(), 1);
    let sessions = store.export_sessions(&from, None, 100).await.expect("exports");
    assert_eq!(sessions.len(), 1);
    assert!(store.export_sessions(&from, Some("s"), 100).await.expect("exports").is_empty());
    let drafts: Vec<Draft> = entries
        .iter()
        .map(|(kept, key)| Draft {
            entry: kept.entry.clone(),
            idempotency_key: key.clone(),
            analysis: Vec::new(),
        })
        .collect();
    let take_in = |onto| store.import(&to, sessions.clone(), drafts.clone(), onto);
    let refused = take_in(Onto::Nothing).await;
    assert!(matches!(refused, Err(StoreError::NotEmpty)), "another scope holds something: {refused:?}");
    assert!(!store.scopes(None, 9).await.expect("reads").contains(&to), "it was refused as a whole");
    assert_eq!(take_in(Onto::Anything).await.expect("taken in"), (3, 1));
    assert_eq!(take_in(Onto::Anything).await.expect("asked"), (0, 0), "it is there");
    let repeated = store.insert(&to, vec![keyed(4, "first")]).await.expect("answered");
    assert_eq!(
        (repeated[0].id.as_str(), repeated[0].duplicate),
        ("m1", true),
        "with what the key was used for"
    );
    let again = store.export_entries(&to, 0, 100).await.expect("exports");
    let entry = |(kept, key): &(crate::model::Kept, Option<Key>)| (kept.entry.clone(), key.clone());
    assert_eq!(again.iter().map(entry).collect::<Vec<_>>(), entries.iter().map(entry).collect::<Vec<_>>());
    assert_eq!(store.unarchive(&to, Some("run")).await.expect("back"), 1);
}

/// Only what holds nothing is restored into; what was deleted does not count.
pub(super) async fn an_empty_store_takes_a_backup_in<S: Store>(store: &S) {
    store_all(store, &scope("a"), vec![memory(1, "one")]).await;
    assert!(store.delete(&scope("a"), "m1").await.expect("deletes"));
    let b = scope("b");
    let take_in = |number| store.import(&b, Vec::new(), vec![memory(number, "two")], Onto::Nothing);
    assert_eq!(take_in(2).await.expect("empty"), (1, 0));
    assert_eq!(store.version(&b).await.expect("reads"), 1);
    assert!(matches!(take_in(3).await, Err(StoreError::NotEmpty)));
}

/// A backup that was made while a session began may hold its messages alone.
pub(super) async fn a_message_that_is_taken_in_has_a_session<S: Store>(store: &S) {
    let a = scope("a");
    let mut remembered = memory(4, "no message");
    remembered.entry.session_id = Some("none".into());
    let drafts = vec![message("lost", 1), message("kept", 2), message("lost", 3), remembered];
    let taken_in = store.import(&a, vec![session("kept", 10)], drafts, Onto::Nothing).await;
    assert_eq!(taken_in.expect("taken in"), (4, 1));
    assert_eq!(store.session(&a, "kept").await.expect("reads"), Some(session("kept", 10)));
    let lost = store.session(&a, "lost").await.expect("reads").expect("a session");
    assert_eq!((lost.created_at, lost.expires_at, lost.fixed), (Moment(1), Moment(3), false));
    let history = store.history(&a, "lost", None, 9).await.expect("reads").expect("a session");
    assert_eq!(history.messages.items.len(), 2);
    assert_eq!(store.session(&a, "none").await.expect("reads"), None);
    let said = store.say(&a, message("lost", 20), Moment(30)).await.expect("goes on");
    assert_eq!((said.begun, said.session.expires_at), (false, Moment(30)));
}
