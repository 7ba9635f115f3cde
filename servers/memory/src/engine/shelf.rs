//! The index of one scope, and how it follows the store.

use super::{Slot, analyse};
use crate::model::{Change, Changes, Indexed, Kind, Scope};
use crate::store::{Store, StoreError};
use mcp_system_retrieval::{Analysis, Index};
use rustc_hash::FxHasher;
use std::collections::HashMap;
use std::hash::Hasher;

/// Changes and rows that are read at once.
const PAGE: u32 = 1000;

/// An index and the version of the scope that it stands for; 0 before it was loaded.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    /// The store's life that the version belongs to.
    pub(super) life: u64,
    pub(super) version: u64,
    /// The model whose vectors the entries have.
    pub(super) model: Option<String>,
    /// Whether the store may hold vectors of this model that the entries are without: see [`fill`].
    pub(super) unfilled: bool,
    pub(super) index: Index<Attributes>,
}

impl Shelf {
    /// Turns to a model. Vectors of another are of no use with it; everything else is what a new index would hold.
    pub(super) fn turn_to(&mut self, model: Option<&str>) {
        if self.model.as_deref() != model {
            self.index.forget_dense();
            self.model = model.map(str::to_owned);
            self.unfilled = self.version > 0;
        }
    }

    /// Heap bytes, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.index.bytes()
    }
}

/// What filters and weights look at. Texts are compared by their hashes, and by themselves once an entry is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes {
    pub(super) version: u64,
    pub(super) memory_type: u64,
    pub(super) session: Option<u64>,
    pub(super) created_at: i64,
    pub(super) importance: f32,
    pub(super) kind: Kind,
}

/// The hash that stands for a text in the index.
pub(super) fn mark(text: &str) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(text.as_bytes());
    hasher.finish()
}

/// A change with what the index needs of it.
enum Step {
    Put(Box<Indexed>, Box<Analysis>),
    Gone(u64),
}

/// Brings an index up to date. The caller holds the slot's `pulling`.
pub(super) async fn pull<S: Store>(
    store: &S,
    scope: &Scope,
    slot: &Slot,
    model: Option<&str>,
) -> Result<(), StoreError> {
    // What another life of the store told is of no use: all is loaded anew. Of another model, only the vectors are not.
    let life = store.lives();
    if slot.read(|shelf| shelf.model.as_deref() != model) {
        slot.write(|shelf| shelf.turn_to(model));
    }
    let mut version = slot.read(|shelf| if shelf.life == life { shelf.version } else { 0 });
    loop {
        if version == 0 {
            version = load(store, scope, slot, model).await?;
        }
        let changes = match store.changes_since(scope, version, model, PAGE).await? {
            Changes::Reload => {
                version = 0;
                continue;
            }
            Changes::Next(changes) => changes,
        };
        let Some(last) = changes.last() else { return Ok(()) };
        let (before, now) = (version, last.version());
        let complete = changes.len() < PAGE as usize;
        let steps = analysed(store, scope, changes).await?;
        let follows = slot.write(|shelf| {
            // Not if it was emptied meanwhile, which takes nobody's turn.
            let follows = shelf.version == before;
            if follows {
                for step in steps {
                    apply(&mut shelf.index, step);
                }
                shelf.version = now;
            }
            follows
        });
        if follows && complete {
            return Ok(());
        }
        version = if follows { now } else { 0 };
    }
}

/// Loads a scope into a new index, which takes the place of the old one when it is complete.
async fn load<S: Store>(
    store: &S,
    scope: &Scope,
    slot: &Slot,
    model: Option<&str>,
) -> Result<u64, StoreError> {
    // Before all that is read: should the life end under way, the index counts as one of before.
    let life = store.lives();
    let version = store.version(scope).await?;
    let mut index = Index::new();
    let mut after = 0;
    loop {
        let rows = store.load(scope, after, model, PAGE).await?;
        let complete = rows.len() < PAGE as usize;
        after = rows.last().map_or(after, |row| row.number);
        insert(store, scope, &mut index, rows).await?;
        if complete {
            break;
        }
        // Other calls get their turn.
        tokio::task::yield_now().await;
    }
    let model = model.map(str::to_owned);
    slot.write(|shelf| *shelf = Shelf { life, version, model, unfilled: false, index });
    Ok(version)
}

/// Gives an index that turned to a model the vectors of it that the store held already, which no change tells of. Searches
/// and changes go on meanwhile.
pub(super) async fn fill<S: Store>(
    store: &S,
    scope: &Scope,
    slot: &Slot,
    model: &str,
) -> Result<(), StoreError> {
    let is_unfilled = |shelf: &Shelf| shelf.unfilled && shelf.model.as_deref() == Some(model);
    let mut after = 0;
    while slot.read(is_unfilled) {
        let rows = store.load(scope, after, Some(model), PAGE).await?;
        let complete = rows.len() < PAGE as usize;
        after = rows.last().map_or(after, |row| row.number);
        slot.write(|shelf| {
            if !is_unfilled(shelf) {
                return;
            }
            for Indexed { number, version, dense, .. } in rows {
                // Of an entry at another version, the changes have told, or will.
                let is_there = shelf.index.get(number).is_some_and(|entry| entry.version == version);
                if let Some(dense) = dense.filter(|_| is_there) {
                    shelf.index.set_dense(number, &dense);
                }
            }
            shelf.unfilled = !complete;
        });
        // Other calls get their turn.
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// An index of a few rows.
pub(super) async fn of_rows<S: Store>(
    store: &S,
    scope: &Scope,
    rows: Vec<Indexed>,
) -> Result<Index<Attributes>, StoreError> {
    let mut index = Index::new();
    insert(store, scope, &mut index, rows).await?;
    Ok(index)
}

async fn insert<S: Store>(
    store: &S,
    scope: &Scope,
    index: &mut Index<Attributes>,
    rows: Vec<Indexed>,
) -> Result<(), StoreError> {
    let changes = rows.into_iter().map(|row| Change::Put(Box::new(row))).collect();
    for step in analysed(store, scope, changes).await? {
        apply(index, step);
    }
    Ok(())
}

fn apply(index: &mut Index<Attributes>, step: Step) {
    match step {
        Step::Gone(number) => {
            index.remove(number);
        }
        Step::Put(row, analysis) => {
            let session = row.session_id.as_deref().map(mark);
            let attributes = Attributes {
                version: row.version,
                memory_type: mark(&row.memory_type),
                session,
                created_at: row.created_at.0,
                #[allow(clippy::cast_possible_truncation, reason = "a weight, not an account")]
                importance: row.importance as f32,
                kind: row.kind,
            };
            index.insert(row.number, session, &analysis, row.dense.as_deref(), attributes);
        }
    }
}

/// Reads the analyses; those that are missing, or of another version, are made from the texts and kept.
async fn analysed<S: Store>(store: &S, scope: &Scope, changes: Vec<Change>) -> Result<Vec<Step>, StoreError> {
    let mut steps = Vec::with_capacity(changes.len());
    let mut unread = Vec::new();
    for change in changes {
        match change {
            Change::Gone { number, .. } => steps.push(Some(Step::Gone(number))),
            Change::Put(row) => {
                if let Some(analysis) = Analysis::from_bytes(&row.analysis) {
                    steps.push(Some(Step::Put(row, Box::new(analysis))));
                } else {
                    unread.push((steps.len(), row));
                    steps.push(None);
                }
            }
        }
    }
    if !unread.is_empty() {
        let numbers: Vec<u64> = unread.iter().map(|(_, row)| row.number).collect();
        let kept = store.get_many(scope, &numbers).await?;
        let analyses = tokio::task::spawn_blocking(move || {
            kept.into_iter()
                .map(|kept| {
                    (kept.number, (kept.version, analyse(&kept.entry.content, kept.entry.context.as_ref())))
                })
                .collect::<HashMap<_, _>>()
        });
        let mut analyses = analyses.await.map_err(|_| StoreError::Closed)?;
        let made = analyses.iter().map(|(number, (version, made))| (*number, *version, made.to_bytes()));
        let kept = store.keep_analyses(scope, made.collect()).await;
        if let Err(error) = kept {
            tracing::warn!(%error, "analyses could not be kept; they will be made again");
        }
        for (place, row) in unread {
            // One that was deleted meanwhile is told of as gone by the next changes.
            let made = analyses.remove(&row.number);
            steps[place] = made.map(|(_, analysis)| Step::Put(row, Box::new(analysis)));
        }
    }
    Ok(steps.into_iter().flatten().collect())
}
