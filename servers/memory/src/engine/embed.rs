//! Vectors for the entries that have none of the present model: made in the background, while everything else goes on.
//!
//! A write only notes that there is something to do. What other replicas left undone, and what was refused or failed, is
//! looked for now and then, by one replica at a time: vectors may cost money. A text that the model fails at keeps no other
//! from its vector: texts that fail together are tried in halves, as long as the model does another text.

use super::{Engine, Slot, shelf};
use crate::model::Scope;
use crate::neural::Neural;
use crate::store::{Store, StoreError, Unembedded, Vector};
use futures::future::{join, try_join_all};
use mcp_system_embedding::Error;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Texts that a model is given at once.
const BATCH: usize = 50;
/// Entries that are read at once.
const PAGE: u32 = 200;
/// How often all entries are looked through, at least. Sooner, at growing intervals, while the model fails at some texts.
const EVERYTHING: Duration = Duration::from_mins(10);
/// How long another replica is left to go through all of them, before it is seen whether it still does.
const ELSEWHERE: Duration = Duration::from_secs(15);
/// Written entries that are remembered one by one; beyond that, all are looked through.
const MOST_WRITTEN: usize = 10_000;
/// The wait after a failure, doubled with each further one up to the longest.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// How often a long work tells how far it is.
const TELL: Duration = Duration::from_secs(10);

/// What there is to do.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    todo: Mutex<Todo>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Todo {
    /// Entries that were written, by their numbers.
    written: BTreeMap<Scope, BTreeSet<u64>>,
    /// How many these are.
    count: usize,
    /// All entries after this one are to be looked through.
    after: Option<u64>,
    /// Not before that, since another replica does so.
    not_before: Option<Instant>,
}

/// The next thing to do.
enum Work {
    Written(Scope, BTreeSet<u64>),
    After(u64),
}

impl Backlog {
    fn add(&self, work: Work) {
        let mut todo = self.todo.lock().unwrap_or_else(PoisonError::into_inner);
        match work {
            Work::Written(scope, numbers) => {
                todo.count += numbers.len();
                todo.written.entry(scope).or_default().extend(numbers);
            }
            Work::After(number) => todo.after = Some(todo.after.map_or(number, |after| after.min(number))),
        }
        if todo.count > MOST_WRITTEN {
            *todo = Todo { after: Some(0), ..Todo::default() };
        }
        drop(todo);
        self.news.notify_one();
    }

    fn take(&self) -> Option<Work> {
        let mut todo = self.todo.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((scope, numbers)) = todo.written.pop_first() {
            todo.count = todo.count.saturating_sub(numbers.len());
            return Some(Work::Written(scope, numbers));
        }
        if todo.not_before.is_some_and(|time| Instant::now() < time) {
            return None;
        }
        todo.not_before = None;
        todo.after.take().map(Work::After)
    }

    /// Takes note that these, as they are, get their vectors with all others: each text costs time, and maybe money. One that
    /// is written from now on is looked at again.
    fn looks_at(&self, entries: &[Unembedded]) {
        let mut todo = self.todo.lock().unwrap_or_else(PoisonError::into_inner);
        let Todo { written, count, .. } = &mut *todo;
        for entry in entries {
            if let Some(numbers) = written.get_mut(&entry.scope) {
                *count = count.saturating_sub(usize::from(numbers.remove(&entry.number)));
            }
        }
        written.retain(|_, numbers| !numbers.is_empty());
    }

    /// Leaves the entries after this one to another replica for now.
    fn leave(&self, after: u64) {
        self.add(Work::After(after));
        self.todo.lock().unwrap_or_else(PoisonError::into_inner).not_before =
            Some(Instant::now() + ELSEWHERE);
    }

    /// Waits for something to do, until then at the latest.
    async fn wait(&self, latest: Instant) {
        let elsewhere = {
            let todo = self.todo.lock().unwrap_or_else(PoisonError::into_inner);
            todo.not_before.filter(|_| todo.after.is_some())
        };
        let until = elsewhere.map_or(latest, |time| time.min(latest));
        let _ = tokio::time::timeout_at(until.into(), self.news.notified()).await;
    }
}

/// Why entries are without vectors for now.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Model(#[from] Error),
}

/// What became of some entries.
#[derive(Clone, Copy, Debug, Default)]
struct Outcome {
    /// Got a vector.
    made: usize,
    /// Did not, since the model fails at their texts for now.
    left: usize,
}

impl Outcome {
    fn count(&mut self, others: Self) {
        self.made += others.made;
        self.left += others.left;
    }
}

impl<S: Store> Engine<S> {
    /// Gives all entries a vector of the present model, new ones as they come, until it is dropped. Entries without one
    /// are found all the same, by their words and static vectors.
    pub async fn embed_entries(&self) {
        let mut models = self.neural.subscribe();
        loop {
            let neural = models.borrow_and_update().clone();
            tokio::select! {
                changed = models.changed() => if changed.is_err() { return },
                ((), ()) = join(self.fill_indexes(&neural), self.embed_by(&neural)) => {}
            }
        }
    }

    /// Tells that the text of an entry is new, by the entry's number.
    pub fn wrote(&self, scope: &Scope, number: u64) {
        if self.neural.borrow().model().is_some() {
            self.backlog.add(Work::Written(scope.clone(), BTreeSet::from([number])));
        }
    }

    /// Tells that texts are new which nobody tells of one by one.
    pub fn took_in(&self) {
        if self.neural.borrow().model().is_some() {
            self.backlog.add(Work::After(0));
        }
    }

    /// Gives the indexes in memory the vectors of this model that the store holds from before.
    async fn fill_indexes(&self, neural: &Neural) {
        let Some(model) = neural.model() else { return };
        let mut scopes: VecDeque<Scope> = self.shelves().iter().map(|(scope, _)| scope.clone()).collect();
        let mut wait = FIRST_WAIT;
        while let Some(scope) = scopes.pop_front() {
            if let Err(error) = self.fill_index(&scope, model).await {
                tracing::warn!(%error, model, "an index is without vectors that the store holds for now");
                scopes.push_back(scope);
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        }
        // Some may have been let go of before it was their turn: answers of before were made without these vectors, too.
        self.models.fetch_add(1, Ordering::SeqCst);
    }

    async fn fill_index(&self, scope: &Scope, model: &str) -> Result<(), StoreError> {
        let Some(slot) = self.in_memory(scope) else { return Ok(()) };
        {
            // Whoever loads it by the model before is waited for; afterwards nobody does.
            let _pulling = slot.pulling.lock().await;
            let neural = self.neural();
            slot.write(|shelf| shelf.turn_to(neural.model()));
        }
        if slot.read(|shelf| shelf.unfilled) {
            shelf::fill(&*self.store, scope, &slot, model).await?;
            // Answers of before were made without these.
            self.models.fetch_add(1, Ordering::SeqCst);
            self.make_room(None);
        }
        Ok(())
    }

    /// The place of an index that is in memory.
    fn in_memory(&self, scope: &Scope) -> Option<Arc<Slot>> {
        self.shelves().peek(scope).cloned()
    }

    /// Never ends: another model ends it.
    async fn embed_by(&self, neural: &Neural) {
        let Some(model) = neural.model() else { return std::future::pending().await };
        let mut wait = FIRST_WAIT;
        // When all entries are looked through next, and how long after that what was left.
        let (mut due, mut again) = (Instant::now(), FIRST_WAIT);
        loop {
            if Instant::now() >= due {
                self.backlog.add(Work::After(0));
                due = Instant::now() + EVERYTHING;
            }
            let Some(work) = self.backlog.take() else {
                self.backlog.wait(due).await;
                continue;
            };
            let is_everything = matches!(work, Work::After(_));
            match self.carry_out_work(work, neural, model).await {
                Ok((more, left)) => {
                    wait = FIRST_WAIT;
                    if left > 0 {
                        due = due.min(Instant::now() + again);
                        again = (again * 2).min(EVERYTHING);
                    } else if is_everything {
                        again = FIRST_WAIT;
                    }
                    if let Some(more) = more {
                        self.backlog.add(more);
                    }
                }
                Err((error, left)) => {
                    // The first of several. Where it is the model that fails, that is told already.
                    if wait == FIRST_WAIT && matches!(error, Trouble::Store(_)) {
                        tracing::warn!(%error, model, "vectors cannot be kept for now; entries stay without");
                    }
                    self.backlog.add(left);
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
            }
        }
    }

    /// Answers what is to be done next because of it and how many texts the model failed at, or what is to be done once
    /// more after a failure of all.
    async fn carry_out_work(
        &self,
        work: Work,
        neural: &Neural,
        model: &str,
    ) -> Result<(Option<Work>, usize), (Trouble, Work)> {
        match work {
            Work::Written(scope, numbers) => {
                match self.embed_written(&scope, &numbers, neural, model).await {
                    Ok(outcome) => Ok((None, outcome.left)),
                    Err(error) => Err((error, Work::Written(scope, numbers))),
                }
            }
            Work::After(number) => {
                let claim = match self.store.claim_unembedded().await {
                    Ok(Some(claim)) => claim,
                    Ok(None) => {
                        self.backlog.leave(number);
                        return Ok((None, 0));
                    }
                    Err(error) => return Err((error.into(), Work::After(number))),
                };
                let mut cursor = number;
                let embedded = self.embed_after(&mut cursor, neural, model).await;
                drop(claim);
                match embedded {
                    Ok(Outcome { made: 0, left }) => Ok((None, left)),
                    // Once more: an entry that changed while its vector was made did not get it.
                    Ok(Outcome { left, .. }) => Ok((Some(Work::After(number)), left)),
                    Err(error) => Err((error, Work::After(cursor))),
                }
            }
        }
    }

    async fn embed_written(
        &self,
        scope: &Scope,
        numbers: &BTreeSet<u64>,
        neural: &Neural,
        model: &str,
    ) -> Result<Outcome, Trouble> {
        let numbers: Vec<u64> = numbers.iter().copied().collect();
        let mut outcome = Outcome::default();
        for numbers in numbers.chunks(BATCH) {
            let kept = self.store.get_many(scope, numbers).await?.into_iter();
            let entries = kept.map(|kept| Unembedded {
                cursor: kept.number,
                scope: scope.clone(),
                number: kept.number,
                version: kept.version,
                content: kept.entry.content,
            });
            outcome.count(self.embed(&entries.collect::<Vec<_>>(), neural, model).await?);
        }
        Ok(outcome)
    }

    /// Goes through the entries after `cursor`, which follows.
    async fn embed_after(&self, cursor: &mut u64, neural: &Neural, model: &str) -> Result<Outcome, Trouble> {
        let (mut outcome, mut told) = (Outcome::default(), Instant::now());
        loop {
            let entries = self.store.unembedded(model, *cursor, PAGE).await?;
            let Some(last) = entries.last() else { break };
            let last = last.cursor;
            self.backlog.looks_at(&entries);
            let parts = entries.chunks(BATCH).map(|part| self.embed(part, neural, model));
            try_join_all(parts).await?.into_iter().for_each(|part| outcome.count(part));
            if let Err(error) = self.keep_up(&entries).await {
                tracing::warn!(%error, "indexes in memory take in vectors later");
            }
            *cursor = last;
            if told.elapsed() > TELL {
                tracing::info!(done = outcome.made, model, "giving vectors to the entries that have none");
                told = Instant::now();
            }
        }
        if outcome.made > PAGE as usize {
            tracing::info!(done = outcome.made, left = outcome.left, model, "entries have vectors");
        }
        Ok(outcome)
    }

    /// Has indexes in memory take in the vectors of these entries. Left to the next search, they might be so many that it had
    /// to load everything anew.
    async fn keep_up(&self, entries: &[Unembedded]) -> Result<(), StoreError> {
        let scopes: BTreeSet<&Scope> = entries.iter().map(|entry| &entry.scope).collect();
        for scope in scopes {
            let Some(slot) = self.in_memory(scope) else { continue };
            if slot.read(|shelf| shelf.version > 0) {
                let version = self.store.version(scope).await?;
                // By this it does not count as used.
                self.bring_up(scope, (&slot, version), None).await?;
            }
        }
        Ok(())
    }

    /// Gives vectors to a few entries. What the model refuses, or fails at, alone stays without.
    async fn embed(&self, entries: &[Unembedded], neural: &Neural, model: &str) -> Result<Outcome, Trouble> {
        let mut outcome = Outcome::default();
        let mut parts = VecDeque::from([entries]);
        while let Some(part) = parts.pop_front() {
            let Some((first, rest)) = part.split_first() else { continue };
            let error = match neural.of_texts(part.iter().map(|entry| entry.content.clone()).collect()).await
            {
                Ok(vectors) => {
                    outcome.made += vectors.len();
                    self.keep(part, vectors, model).await?;
                    continue;
                }
                Err(error) => error,
            };
            if error == Error::Closed {
                return Err(error.into());
            }
            // It may be down, or busy: then all of them wait. It is asked between any two failures, which also keeps
            // the breaker before it from counting those of texts.
            if error.passing() {
                neural.answers().await?;
            }
            if rest.is_empty() {
                outcome.left += usize::from(error.passing());
                tracing::warn!(%error, number = first.number, "an entry stays without a vector");
            } else {
                parts.extend([&part[..part.len() / 2], &part[part.len() / 2..]]);
            }
        }
        Ok(outcome)
    }

    /// Stores the vectors of some entries, in order.
    async fn keep(
        &self,
        entries: &[Unembedded],
        vectors: Vec<Vec<f32>>,
        model: &str,
    ) -> Result<(), StoreError> {
        let mut scopes: BTreeMap<&Scope, Vec<Vector>> = BTreeMap::new();
        for (entry, values) in entries.iter().zip(vectors) {
            let vector = Vector { number: entry.number, version: entry.version, values };
            scopes.entry(&entry.scope).or_default().push(vector);
        }
        for (scope, vectors) in scopes {
            self.store.keep_vectors(scope, model, vectors).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance::scope;

    #[test]
    fn what_was_looked_at_with_all_others_is_not_looked_at_again() {
        let backlog = Backlog::default();
        for (agent, numbers) in [("a", vec![1, 2]), ("b", vec![1])] {
            backlog.add(Work::Written(scope(agent), numbers.into_iter().collect()));
        }
        let entry = |agent, number| Unembedded {
            cursor: number,
            scope: scope(agent),
            number,
            version: 1,
            content: String::new(),
        };
        backlog.looks_at(&[entry("a", 1), entry("b", 1), entry("c", 1)]);
        let Some(Work::Written(left, numbers)) = backlog.take() else { panic!("one is left") };
        assert_eq!((left, numbers), (scope("a"), BTreeSet::from([2])));
        assert!(backlog.take().is_none());
        assert_eq!(backlog.todo.lock().expect("sound").count, 0);
    }
}
