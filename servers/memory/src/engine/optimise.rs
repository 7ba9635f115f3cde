//! Making a scope smaller: near-duplicates are merged, the old and unimportant is put away. Nothing is deleted.
//!
//! A scope is gone through in portions, in the order in which it was stored, and what is found in one is put away before
//! the next is read: a large scope takes no more memory than one portion, nor do several at once. Near-duplicates are looked for
//! within each.

use super::duplicates::{Text, merges};
use super::{Engine, analyse};
use crate::model::{Archival, Entry, Kept, Kind, Scope, Survivor};
use crate::moment::Moment;
use crate::store::{Store, StoreError};

/// Entries that are read at once.
const PAGE: u32 = 200;
/// Entries that are put away at once.
const AWAY: usize = 1000;
/// The most memories of a portion, and the most bytes of them; the last one may go beyond.
const PORTION: usize = 100_000;
const PORTION_BYTES: usize = 16 << 20;
/// Merges that are told of one by one.
const NAMED: usize = 100;

/// What may be put away.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// Memories at least this alike are merged.
    pub compact_threshold: f32,
    /// Memories less important than this are put away once they are old.
    pub archive_below: f64,
    /// Memories that were stored before this are old.
    pub old_before: Moment,
}

/// What an optimisation did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Optimised {
    /// Memories that were looked at.
    pub examined: u64,
    /// Memories that say what another one says.
    pub merged: u64,
    /// Memories that are put away for their age.
    pub aged_out: u64,
    /// Of both, those that were put away: none in a preview, nor what has changed since it was looked at.
    pub archived: u64,
    /// Ids of the first that are merged, and what into: `(merged, stays)`.
    pub merges: Vec<(String, String)>,
}

/// An optimisation that did not come to its end.
#[derive(Clone, Debug)]
pub struct BrokenOff {
    /// What it did until then.
    pub done: Optimised,
    /// Why.
    pub error: StoreError,
}

/// What is to be done with a portion.
#[derive(Debug, Default)]
struct Plan {
    archivals: Vec<Archival>,
    /// See [`Optimised::merges`].
    merges: Vec<(String, String)>,
}

impl<S: Store> Engine<S> {
    /// Puts away what there is to put away in a scope, as `run_id`; without one, only looks for it. Messages are left alone:
    /// a conversation is what was said.
    pub async fn optimise(
        &self,
        scope: &Scope,
        rules: Rules,
        run_id: Option<&str>,
    ) -> Result<Optimised, BrokenOff> {
        let mut done = Optimised::default();
        match self.optimise_into(&mut done, scope, rules, run_id).await {
            Ok(()) => Ok(done),
            Err(error) => Err(BrokenOff { done, error }),
        }
    }

    /// Does it, and counts what is done as it is done.
    async fn optimise_into(
        &self,
        done: &mut Optimised,
        scope: &Scope,
        rules: Rules,
        run_id: Option<&str>,
    ) -> Result<(), StoreError> {
        let mut after = 0;
        loop {
            // One at a time, until it is done, whoever still waits for it: portion and plan may take a hundred megabytes.
            let turn = self.optimising.clone().lock_owned().await;
            let (portion, complete) = self.portion(scope, &mut after).await?;
            done.examined += portion.len() as u64;
            let plan = tokio::task::spawn_blocking(move || {
                let plan = plan(portion, rules);
                drop(turn);
                plan
            });
            let Plan { archivals, merges } = plan.await.map_err(|_| StoreError::Closed)?;
            done.merged += merges.len() as u64;
            done.aged_out += (archivals.len() - merges.len()) as u64;
            let room = NAMED - done.merges.len();
            done.merges.extend(merges.into_iter().take(room));
            if let Some(run_id) = run_id {
                for archivals in archivals.chunks(AWAY) {
                    let away = self.store.archive(scope, run_id, Moment::now(), archivals.to_vec());
                    done.archived += away.await?;
                }
            }
            if complete {
                return Ok(());
            }
        }
    }

    /// The memories after one, which follows; and whether these are the last.
    async fn portion(&self, scope: &Scope, after: &mut u64) -> Result<(Vec<Kept>, bool), StoreError> {
        let (mut portion, mut bytes) = (Vec::new(), 0);
        loop {
            let page = self.store.export_entries(scope, *after, PAGE).await?;
            let complete = page.len() < PAGE as usize;
            for (kept, _) in page {
                *after = kept.number;
                if kept.entry.archived.is_some() || kept.entry.kind() != Kind::Memory {
                    continue;
                }
                bytes += kept.entry.weight();
                portion.push(kept);
                if portion.len() == PORTION || bytes >= PORTION_BYTES {
                    return Ok((portion, false));
                }
            }
            if complete {
                return Ok((portion, true));
            }
        }
    }
}

fn plan(mut memories: Vec<Kept>, rules: Rules) -> Plan {
    let mut plan = Plan::default();
    let is_old =
        |kept: &Kept| kept.entry.importance < rules.archive_below && kept.entry.created_at < rules.old_before;
    let away = memories.extract_if(.., |kept| is_old(kept));
    plan.archivals.extend(away.map(|kept| Archival {
        number: kept.number,
        version: kept.version,
        merged_into: None,
    }));
    // The most important of those that say the same stays, of equally important ones the newest.
    memories.sort_by(|a, b| b.entry.importance.total_cmp(&a.entry.importance).then(b.number.cmp(&a.number)));
    let texts: Vec<Text> = memories.iter().map(|kept| text(&kept.entry)).collect();
    for (kept, into) in memories.iter().zip(merges(&texts, rules.compact_threshold)) {
        let Some(stays) = into.map(|into| &memories[into]) else { continue };
        plan.archivals.push(Archival {
            number: kept.number,
            version: kept.version,
            merged_into: Some(Survivor {
                id: stays.entry.id.clone(),
                number: stays.number,
                version: stays.version,
            }),
        });
        plan.merges.push((kept.entry.id.clone(), stays.entry.id.clone()));
    }
    plan
}

fn text(entry: &Entry) -> Text {
    Text::of(&entry.memory_type, &entry.content, analyse(&entry.content, None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::capacity;
    use crate::store::conformance::{memory, message, scope};
    use crate::store::sqlite::{Options, SqliteStore};
    use std::sync::Arc;
    use std::time::Duration;

    const RULES: Rules = Rules { compact_threshold: 0.9, archive_below: 0.0, old_before: Moment(0) };

    fn kept(number: u64, memory_type: &str, content: &str) -> Kept {
        let mut entry = memory(number.cast_signed(), content).entry;
        entry.memory_type = memory_type.into();
        Kept { number, version: number, entry }
    }

    #[test]
    fn what_says_the_same_is_merged_within_its_type_whatever_other_types_say() {
        let content = "Ada prefers green tea in the morning";
        let memories = [(1, "note"), (2, "note"), (3, "fact"), (4, "fact"), (5, "plan")];
        let memories = memories.map(|(number, memory_type)| kept(number, memory_type, content));
        let merges = plan(memories.to_vec(), RULES).merges;
        assert_eq!(merges, [("m3".into(), "m4".into()), ("m1".into(), "m2".into())]);
    }

    #[tokio::test]
    async fn a_portion_holds_so_many_bytes_and_together_they_are_all_memories() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(directory.path(), &Options::default()).await.expect("opens");
        let a = scope("a");
        let long = "x".repeat(PORTION_BYTES / 8);
        for number in 0..20 {
            store.insert(&a, vec![memory(number, &format!("{number} {long}"))]).await.expect("stored");
        }
        store.say(&a, message("s", 20), Moment(100)).await.expect("said");
        let engine = Engine::new(Arc::new(store), capacity(1 << 30));
        let (mut after, mut lengths) = (0, Vec::new());
        loop {
            let (portion, complete) = engine.portion(&a, &mut after).await.expect("reads");
            lengths.push(portion.len());
            if complete {
                break;
            }
        }
        assert_eq!(lengths, [8, 8, 4]);
    }

    #[tokio::test]
    async fn one_portion_is_in_memory_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(directory.path(), &Options::default()).await.expect("opens");
        store.insert(&scope("a"), vec![memory(1, "one")]).await.expect("stored");
        let engine = Engine::new(Arc::new(store), capacity(1 << 30));
        let optimise = async || engine.optimise(&scope("a"), RULES, None).await.expect("done").examined;
        let turn = engine.optimising.clone().lock_owned().await;
        let waits = tokio::time::timeout(Duration::from_millis(300), optimise()).await;
        waits.expect_err("it is another one's turn");
        drop(turn);
        assert_eq!(optimise().await, 1);
    }
}
