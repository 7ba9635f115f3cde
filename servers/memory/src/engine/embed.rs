//! Vectors for the entries that have none of the present model: made in the background, while everything else goes on.
//!
//! A write only notes that there is something to do. What other replicas left undone, and what was refused or failed, is
//! looked for now and then, by one replica at a time: vectors may cost money.

use super::Engine;
use crate::model::Scope;
use crate::neural::Neural;
use crate::store::{Store, StoreError, Unembedded, Vector};
use futures::future::try_join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Texts that a model is given at once.
const BATCH: usize = 50;
/// Entries that are read at once.
const PAGE: u32 = 200;
/// How often all entries are looked through.
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

    /// Leaves the entries after this one to another replica for now.
    fn leave(&self, after: u64) {
        self.add(Work::After(after));
        self.todo.lock().unwrap_or_else(PoisonError::into_inner).not_before =
            Some(Instant::now() + ELSEWHERE);
    }

    /// Waits for something to do.
    async fn wait(&self) {
        let rest = {
            let todo = self.todo.lock().unwrap_or_else(PoisonError::into_inner);
            todo.not_before.filter(|_| todo.after.is_some())
        };
        let rest = rest.map_or(EVERYTHING, |time| time.saturating_duration_since(Instant::now()));
        if tokio::time::timeout(rest, self.news.notified()).await.is_err() {
            self.add(Work::After(0));
        }
    }
}

/// Why entries are without vectors for now.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Model(#[from] mcp_system_embedding::Error),
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
                () = self.embed_by(&neural) => {}
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

    /// Never ends: another model ends it.
    async fn embed_by(&self, neural: &Neural) {
        let Some(model) = neural.model() else { return std::future::pending().await };
        self.backlog.add(Work::After(0));
        let mut wait = FIRST_WAIT;
        loop {
            let Some(work) = self.backlog.take() else {
                self.backlog.wait().await;
                continue;
            };
            match self.carry_out_work(work, neural, model).await {
                Ok(more) => {
                    wait = FIRST_WAIT;
                    if let Some(more) = more {
                        self.backlog.add(more);
                    }
                }
                Err((error, left)) => {
                    tracing::debug!(%error, "entries stay without vectors for now");
                    self.backlog.add(left);
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
            }
        }
    }

    /// Answers what is to be done next because of it, or what is left after a failure.
    async fn carry_out_work(
        &self,
        work: Work,
        neural: &Neural,
        model: &str,
    ) -> Result<Option<Work>, (Trouble, Work)> {
        match work {
            Work::Written(scope, numbers) => {
                match self.embed_written(&scope, &numbers, neural, model).await {
                    Ok(()) => Ok(None),
                    Err(error) => Err((error, Work::Written(scope, numbers))),
                }
            }
            Work::After(number) => {
                let claim = match self.store.claim_unembedded().await {
                    Ok(Some(claim)) => claim,
                    Ok(None) => {
                        self.backlog.leave(number);
                        return Ok(None);
                    }
                    Err(error) => return Err((error.into(), Work::After(number))),
                };
                let mut cursor = number;
                let embedded = self.embed_after(&mut cursor, neural, model).await;
                drop(claim);
                match embedded {
                    Ok(0) => Ok(None),
                    // Once more: an entry that changed while its vector was made did not get it.
                    Ok(_) => Ok(Some(Work::After(number))),
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
    ) -> Result<(), Trouble> {
        let numbers: Vec<u64> = numbers.iter().copied().collect();
        for numbers in numbers.chunks(BATCH) {
            let kept = self.store.get_many(scope, numbers).await?.into_iter();
            let entries = kept.map(|kept| Unembedded {
                cursor: kept.number,
                scope: scope.clone(),
                number: kept.number,
                version: kept.version,
                content: kept.entry.content,
            });
            self.embed(&entries.collect::<Vec<_>>(), neural, model).await?;
        }
        Ok(())
    }

    /// Goes through the entries after `cursor`, which follows; answers how many got a vector.
    async fn embed_after(&self, cursor: &mut u64, neural: &Neural, model: &str) -> Result<usize, Trouble> {
        let (mut done, mut told) = (0, Instant::now());
        loop {
            let entries = self.store.unembedded(model, *cursor, PAGE).await?;
            let Some(last) = entries.last() else { break };
            let last = last.cursor;
            let parts = entries.chunks(BATCH).map(|part| self.embed(part, neural, model));
            done += try_join_all(parts).await?.into_iter().sum::<usize>();
            *cursor = last;
            if told.elapsed() > TELL {
                tracing::info!(done, model, "giving vectors to the entries that have none");
                told = Instant::now();
            }
        }
        if done > PAGE as usize {
            tracing::info!(done, model, "all entries have vectors");
        }
        Ok(done)
    }

    /// Gives vectors to a few entries; answers to how many. What is refused alone stays without.
    async fn embed(&self, entries: &[Unembedded], neural: &Neural, model: &str) -> Result<usize, Trouble> {
        let texts = |entries: &[Unembedded]| entries.iter().map(|entry| entry.content.clone()).collect();
        if entries.is_empty() {
            return Ok(0);
        }
        let vectors = match neural.of_texts(texts(entries)).await {
            Ok(vectors) => vectors.into_iter().map(Some).collect(),
            Err(error) if error.passing() => return Err(error.into()),
            Err(_) => {
                let mut vectors = Vec::with_capacity(entries.len());
                for entry in entries {
                    vectors.push(match neural.of_texts(vec![entry.content.clone()]).await {
                        Ok(vectors) => vectors.into_iter().next(),
                        Err(error) if error.passing() => return Err(error.into()),
                        Err(error) => {
                            tracing::warn!(%error, number = entry.number, "an entry stays without a vector");
                            None
                        }
                    });
                }
                vectors
            }
        };
        let mut scopes: BTreeMap<&Scope, Vec<Vector>> = BTreeMap::new();
        for (entry, values) in entries.iter().zip(vectors) {
            let Some(values) = values else { continue };
            let vector = Vector { number: entry.number, version: entry.version, values };
            scopes.entry(&entry.scope).or_default().push(vector);
        }
        let mut done = 0;
        for (scope, vectors) in scopes {
            done += vectors.len();
            self.store.keep_vectors(scope, model, vectors).await?;
        }
        Ok(done)
    }
}
