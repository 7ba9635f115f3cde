//! What every store must do with idempotency keys, beyond [`super::duplicates_are_recognised`].

use super::{keyed, memory, message, scope, store_all};
use crate::model::{Draft, Key};
use crate::moment::Moment;
use crate::store::{Store, StoreError};

/// A key that comes with a content which is there already is kept all the same.
pub(super) async fn a_key_is_kept_by_what_was_stored_without_one<S: Store>(store: &S) {
    let (plain, with_key) = (memory(1, "juice"), keyed(2, "juice"));
    let in_turn = vec![vec![plain.clone()], vec![with_key.clone()]];
    for (agent, calls) in [("a", in_turn), ("b", vec![vec![plain, with_key]])] {
        let scope = scope(agent);
        for drafts in calls {
            store_all(store, &scope, drafts).await;
        }
        let kept = store.get(&scope, "m1").await.expect("reads").expect("there");
        let mut changed = memory(1, "beer");
        changed.entry.updated_at = Moment(20);
        store.replace(&scope, (kept.number, kept.version), changed).await.expect("asked").expect("replaced");
        let again = store.insert(&scope, vec![keyed(3, "juice")]).await.expect("answered");
        assert_eq!((again[0].id.as_str(), again[0].duplicate), ("m1", true), "{agent}");
        let reused = store.insert(&scope, vec![keyed(4, "wine")]).await;
        assert!(matches!(reused, Err(StoreError::KeyReused { .. })), "{reused:?}");
        assert_eq!(store.size(&scope).await.expect("counts"), 1);
    }
}

/// The same words in another session, or as a memory, are something else: to answer that they are stored would be untrue.
pub(super) async fn a_key_belongs_to_a_memory_or_to_a_message_of_a_session<S: Store>(store: &S) {
    let a = scope("a");
    let say = async |session: &str, key: &str| {
        let mut said = message(session, 1);
        said.entry.id = format!("{session} {key}");
        said.entry.content = "yes".into();
        said.idempotency_key = Some(Key::of(key, "yes"));
        store.say(&scope("a"), said, Moment(100)).await
    };
    let remember = |key: &str| Draft { idempotency_key: Some(Key::of(key, "yes")), ..memory(2, "yes") };
    assert!(!say("s", "said").await.expect("stored").inserted.duplicate);
    assert!(say("s", "said").await.expect("answered").inserted.duplicate);
    let elsewhere = say("t", "said").await;
    assert!(matches!(elsewhere, Err(StoreError::KeyReused { .. })), "{elsewhere:?}");
    assert!(store.session(&a, "t").await.expect("reads").is_none(), "nothing was begun for it");
    let remembered = store.insert(&a, vec![remember("said")]).await;
    assert!(matches!(remembered, Err(StoreError::KeyReused { .. })), "{remembered:?}");

    store_all(store, &a, vec![remember("kept")]).await;
    let said = say("s", "kept").await;
    assert!(matches!(said, Err(StoreError::KeyReused { .. })), "{said:?}");
    assert_eq!(store.size(&a).await.expect("counts"), 2);
}
