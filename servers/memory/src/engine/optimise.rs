//! Making a scope smaller: near-duplicates are merged, the old and unimportant is put away. Nothing is deleted.

use super::duplicates::{Text, merges};
use super::{Engine, analyse};
use crate::model::{Archival, Kept, Kind, Scope};
use crate::moment::Moment;
use crate::store::{Store, StoreError};

/// Entries that are read, or put away, at once.
const PAGE: u32 = 1000;

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

/// What an optimisation would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Memories that were looked at.
    pub examined: u64,
    /// What is to be put away.
    pub archivals: Vec<Archival>,
    /// Ids of what is merged, and what into: `(merged, stays)`.
    pub merged: Vec<(String, String)>,
    /// Ids of what is put away for its age.
    pub aged_out: Vec<String>,
}

/// What an optimisation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Optimised {
    /// Memories that were put away.
    pub archived: u64,
}

impl<S: Store> Engine<S> {
    /// What an optimisation of a scope would do now. Messages are left alone: a conversation is what was said.
    pub async fn plan(&self, scope: &Scope, rules: Rules) -> Result<Plan, StoreError> {
        let mut memories: Vec<Kept> = Vec::new();
        let mut after = 0;
        loop {
            let page = self.store.export_entries(scope, after, PAGE).await?;
            let complete = page.len() < PAGE as usize;
            after = page.last().map_or(after, |(kept, _)| kept.number);
            let entries = page.into_iter().map(|(kept, _)| kept);
            memories.extend(
                entries.filter(|kept| kept.entry.archived.is_none() && kept.entry.kind() == Kind::Memory),
            );
            if complete {
                break;
            }
        }
        tokio::task::spawn_blocking(move || plan(memories, rules)).await.map_err(|_| StoreError::Closed)
    }

    /// Puts away what a plan says; what has changed since it was made stays.
    pub async fn carry_out(&self, scope: &Scope, run_id: &str, plan: &Plan) -> Result<Optimised, StoreError> {
        let mut archived = 0;
        for archivals in plan.archivals.chunks(PAGE as usize) {
            archived += self.store.archive(scope, run_id, Moment::now(), archivals.to_vec()).await?;
        }
        Ok(Optimised { archived })
    }
}

fn plan(mut memories: Vec<Kept>, rules: Rules) -> Plan {
    let mut plan = Plan { examined: memories.len() as u64, ..Plan::default() };
    let is_old =
        |kept: &Kept| kept.entry.importance < rules.archive_below && kept.entry.created_at < rules.old_before;
    let away: Vec<Kept> = memories.extract_if(.., |kept| is_old(kept)).collect();
    for kept in away {
        plan.archivals.push(Archival { number: kept.number, version: kept.version, merged_into: None });
        plan.aged_out.push(kept.entry.id);
    }
    // The most important of those that say the same stays, of equally important ones the newest.
    memories.sort_by(|a, b| b.entry.importance.total_cmp(&a.entry.importance).then(b.number.cmp(&a.number)));
    let texts: Vec<Text> = memories
        .iter()
        .map(|kept| Text::of(&kept.entry.content, analyse(&kept.entry.content, None)))
        .collect();
    for (kept, into) in memories.iter().zip(merges(&texts, rules.compact_threshold)) {
        let Some(stays) = into.map(|into| &memories[into].entry) else { continue };
        if stays.memory_type != kept.entry.memory_type {
            continue;
        }
        plan.archivals.push(Archival {
            number: kept.number,
            version: kept.version,
            merged_into: Some(stays.id.clone()),
        });
        plan.merged.push((kept.entry.id.clone(), stays.id.clone()));
    }
    plan
}
