//! Systems that wait to be looked at.
//!
//! A system waits at most once and is looked at by one worker at a time; what happens to it meanwhile makes
//! it wait again. Must not know what looking means.

use crate::kind::SystemKey;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The first delay after a failure; each further one is twice as long.
const FIRST_DELAY: Duration = Duration::from_secs(1);
/// The longest.
const LAST_DELAY: Duration = Duration::from_mins(5);

#[derive(Debug, Default)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    ready: VecDeque<SystemKey>,
    /// What is in `ready`, or has to be once it is worked off.
    waiting: HashSet<SystemKey>,
    working: HashSet<SystemKey>,
    later: BTreeSet<(Instant, SystemKey)>,
    later_of: HashMap<SystemKey, Instant>,
    failures: HashMap<SystemKey, u32>,
}

impl Queue {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a system looked at soon.
    pub(crate) fn add(&self, key: SystemKey) {
        self.inner().add(key);
        self.changed.notify_one();
    }

    /// Has several looked at soon.
    pub(crate) fn add_all(&self, keys: Vec<SystemKey>) {
        for key in keys {
            self.add(key);
        }
    }

    /// Has a system looked at after a while, or before if that was asked for.
    pub(crate) fn add_after(&self, key: SystemKey, delay: Duration) {
        self.inner().add_at(key, Instant::now() + delay);
        self.changed.notify_one();
    }

    /// Has a system looked at again, later each time.
    pub(crate) fn retry(&self, key: SystemKey) {
        let delay = {
            let mut inner = self.inner();
            let failures = inner.failures.entry(key.clone()).or_default();
            *failures += 1;
            delay_after(*failures)
        };
        self.add_after(key, delay);
    }

    /// Notes that nothing is wrong with a system any more.
    pub(crate) fn forgive(&self, key: &SystemKey) {
        self.inner().failures.remove(key);
    }

    /// How many wait to be looked at soon.
    pub(crate) fn depth(&self) -> usize {
        self.inner().waiting.len()
    }

    /// The next one. Whoever takes it says [`Queue::done`] afterwards.
    pub(crate) async fn next(&self) -> SystemKey {
        loop {
            let changed = self.changed.notified();
            let due = {
                let mut inner = self.inner();
                let due = inner.due(Instant::now());
                if let Some(key) = inner.take() {
                    let more = !inner.ready.is_empty();
                    drop(inner);
                    if more {
                        self.changed.notify_one();
                    }
                    return key;
                }
                due
            };
            match due {
                Some(due) => tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(due) => {}
                },
                None => changed.await,
            }
        }
    }

    /// Says that a system was looked at.
    pub(crate) fn done(&self, key: &SystemKey) {
        let mut inner = self.inner();
        inner.working.remove(key);
        if inner.waiting.contains(key) {
            inner.ready.push_back(key.clone());
            drop(inner);
            self.changed.notify_one();
        }
    }
}

impl Inner {
    fn add(&mut self, key: SystemKey) {
        if let Some(due) = self.later_of.remove(&key) {
            self.later.remove(&(due, key.clone()));
        }
        if self.waiting.insert(key.clone()) && !self.working.contains(&key) {
            self.ready.push_back(key);
        }
    }

    fn add_at(&mut self, key: SystemKey, due: Instant) {
        if self.waiting.contains(&key) && !self.working.contains(&key) {
            return;
        }
        if let Some(known) = self.later_of.get(&key).copied() {
            if known <= due {
                return;
            }
            self.later.remove(&(known, key.clone()));
        }
        self.later_of.insert(key.clone(), due);
        self.later.insert((due, key));
    }

    /// Makes ready what is due, and tells when the next one will be.
    fn due(&mut self, now: Instant) -> Option<Instant> {
        while let Some((due, key)) = self.later.first().cloned() {
            if due > now {
                return Some(due);
            }
            self.add(key);
        }
        None
    }

    fn take(&mut self) -> Option<SystemKey> {
        let key = self.ready.pop_front()?;
        self.waiting.remove(&key);
        self.working.insert(key.clone());
        Some(key)
    }
}

fn delay_after(failures: u32) -> Duration {
    FIRST_DELAY.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LAST_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> SystemKey {
        SystemKey::new("test", name)
    }

    async fn nothing(queue: &Queue) -> bool {
        tokio::time::timeout(Duration::from_millis(10), queue.next()).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn each_waits_once_and_is_worked_on_by_one() {
        let queue = Queue::default();
        queue.add(key("a"));
        queue.add(key("a"));
        assert_eq!(queue.depth(), 1);
        assert_eq!(queue.next().await, key("a"));
        queue.add(key("a"));
        assert!(nothing(&queue).await, "it is being worked on");
        queue.done(&key("a"));
        assert_eq!(queue.next().await, key("a"));
        queue.done(&key("a"));
        assert!(nothing(&queue).await);
    }

    #[tokio::test(start_paused = true)]
    async fn the_sooner_of_two_times_counts() {
        let queue = Queue::default();
        queue.add_after(key("a"), Duration::from_mins(1));
        queue.add_after(key("a"), Duration::from_secs(5));
        queue.add_after(key("a"), Duration::from_secs(90));
        let start = Instant::now();
        assert_eq!(queue.next().await, key("a"));
        assert_eq!(start.elapsed().as_secs(), 5);
        queue.done(&key("a"));
        queue.add_after(key("a"), Duration::from_mins(1));
        queue.add(key("a"));
        assert_eq!(queue.next().await, key("a"));
        queue.done(&key("a"));
        assert!(tokio::time::timeout(Duration::from_secs(100), queue.next()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_repeated_later_each_time() {
        let queue = Queue::default();
        for expected in [1, 2, 4] {
            queue.retry(key("a"));
            let start = Instant::now();
            assert_eq!(queue.next().await, key("a"));
            assert_eq!(start.elapsed().as_secs(), expected);
            queue.done(&key("a"));
        }
        queue.forgive(&key("a"));
        queue.retry(key("a"));
        let start = Instant::now();
        queue.next().await;
        assert_eq!(start.elapsed().as_secs(), 1);
        assert_eq!(delay_after(99), LAST_DELAY);
    }
}
