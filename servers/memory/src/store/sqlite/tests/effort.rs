//! Reads go through what they answer with and no more: SQLite, which keeps no statistics here, must not take an index
//! that begins with the scope for a few rows of it.

use super::*;
use std::sync::atomic::{AtomicU64, Ordering};

/// Entries of the scope, and more steps than a read of a few of them takes.
const ENTRIES: u32 = 5000;

#[tokio::test]
async fn a_few_rows_take_few_steps_in_a_large_scope() {
    let (_directory, store) = fresh().await;
    let scope = scope("a");
    let drafts = (0..ENTRIES).map(|number| memory(number.into(), &format!("word {number}")));
    let inserted = store.insert(&scope, drafts.collect()).await.expect("stored");
    let numbers: Vec<u64> = inserted.iter().step_by(170).map(|inserted| inserted.number).collect();
    let (mut reader, place) = store.at(&scope).await.expect("reads").expect("a scope");

    let few = |steps: u64| (1..u64::from(ENTRIES) / 2).contains(&steps);
    let steps = Arc::new(AtomicU64::new(0));
    let counted = steps.clone();
    reader.lock_handle().await.expect("the connection").set_progress_handler(1, move || {
        counted.fetch_add(1, Ordering::Relaxed);
        true
    });
    for count in [1, 5, numbers.len()] {
        steps.store(0, Ordering::Relaxed);
        let asked = Asked::of(place, &numbers[..count]);
        let kept = reads::get_many(&mut reader, &[&asked]).await.expect("entries");
        assert_eq!(kept[0].len(), count);
        let steps = steps.load(Ordering::Relaxed);
        assert!(few(steps), "{count} by their numbers: {steps} steps");
    }
    steps.store(0, Ordering::Relaxed);
    let recent = reads::recent(&mut reader, place, &Filter::default(), 10).await.expect("entries");
    assert_eq!(recent.items.len(), 10);
    let taken = steps.load(Ordering::Relaxed);
    assert!(few(taken), "the newest: {taken} steps");
    steps.store(0, Ordering::Relaxed);
    assert!(reads::get(&mut reader, place, &recent.items[0].id).await.expect("an entry").is_some());
    let taken = steps.load(Ordering::Relaxed);
    assert!(few(taken), "one by its id: {taken} steps");
}
