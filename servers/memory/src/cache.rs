//! Caches: the least recently used entry goes first, and none is older than it may be.
//!
//! Nothing here knows what makes an entry stale: keys carry a version, so that what was stored under an old one is
//! never asked for again.

use lru::LruCache;
use std::hash::Hash;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How large a cache is, and how long its entries live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The most entries; 0 turns the cache off.
    pub entries: usize,
    /// How long an entry lives.
    pub ttl: Duration,
}

/// How a cache has served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Entries that are there now.
    pub entries: u64,
    /// Look-ups that found one.
    pub hits: u64,
    /// Look-ups that found none.
    pub misses: u64,
}

/// A cache that threads share.
#[derive(Debug)]
pub struct Cache<K: Hash + Eq, V> {
    inner: Mutex<Inner<K, V>>,
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Debug)]
struct Inner<K: Hash + Eq, V> {
    bounds: Bounds,
    entries: LruCache<K, (V, Instant)>,
}

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    /// An empty cache.
    pub fn new(bounds: Bounds) -> Self {
        let inner = Mutex::new(Inner { bounds, entries: LruCache::unbounded() });
        Self { inner, hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner<K, V>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is stored under a key, unless it is too old at `now`.
    pub fn get(&self, key: &K, now: Instant) -> Option<V> {
        let mut inner = self.inner();
        let ttl = inner.bounds.ttl;
        let found = match inner.entries.get(key) {
            Some((value, stored)) if now.saturating_duration_since(*stored) < ttl => Some(value.clone()),
            Some(_) => {
                inner.entries.pop(key);
                None
            }
            None => None,
        };
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// Stores a value as of `now`.
    pub fn put(&self, key: K, value: V, now: Instant) {
        let mut inner = self.inner();
        if inner.bounds.entries == 0 {
            return;
        }
        inner.entries.put(key, (value, now));
        inner.shrink();
    }

    /// Takes over new bounds; entries beyond them go.
    pub fn resize(&self, bounds: Bounds) {
        let mut inner = self.inner();
        inner.bounds = bounds;
        inner.shrink();
    }

    /// Forgets the entries whose keys are chosen; answers how many.
    pub fn clear(&self, chosen: impl Fn(&K) -> bool) -> u64
    where
        K: Clone,
    {
        let mut inner = self.inner();
        let keys: Vec<K> =
            inner.entries.iter().map(|(key, _)| key).filter(|key| chosen(key)).cloned().collect();
        for key in &keys {
            inner.entries.pop(key);
        }
        keys.len() as u64
    }

    /// How it has served.
    pub fn served(&self) -> Served {
        Served {
            entries: self.inner().entries.len() as u64,
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
        }
    }
}

impl<K: Hash + Eq, V> Inner<K, V> {
    fn shrink(&mut self) {
        // The list itself is unbounded: it takes memory for what it holds, not for what it might.
        debug_assert!(NonZeroUsize::new(self.entries.cap().get()).is_some());
        while self.entries.len() > self.bounds.entries {
            self.entries.pop_lru();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Get(u8),
        Put(u8),
        Wait(u8),
        Resize(u8, u8),
        ClearEven,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..12_u8).prop_map(Step::Get),
            4 => (0..12_u8).prop_map(Step::Put),
            2 => (0..20_u8).prop_map(Step::Wait),
            1 => (0..10_u8, 1..30_u8).prop_map(|(entries, ttl)| Step::Resize(entries, ttl)),
            1 => Just(Step::ClearEven),
        ]
    }

    proptest! {
        #[test]
        fn it_does_what_a_plain_list_does(steps in proptest::collection::vec(step(), 1..200)) {
            let (mut most, mut ttl) = (4_usize, 10_u64);
            let bounds = |most, ttl| Bounds { entries: most, ttl: Duration::from_secs(ttl) };
            let cache = Cache::new(bounds(most, ttl));
            // Least recently used first: (key, value, stored at).
            let mut model: Vec<(u8, usize, u64)> = Vec::new();
            let (start, mut now, mut hits, mut misses) = (Instant::now(), 0_u64, 0, 0);
            for (number, step) in steps.into_iter().enumerate() {
                let at = start + Duration::from_secs(now);
                match step {
                    Step::Get(key) => {
                        let place = model.iter().position(|entry| entry.0 == key);
                        let expected = place.map(|place| model.remove(place)).filter(|entry| now - entry.2 < ttl);
                        model.extend(expected);
                        if expected.is_some() { hits += 1 } else { misses += 1 }
                        prop_assert_eq!(cache.get(&key, at), expected.map(|entry| entry.1));
                    }
                    Step::Put(key) => {
                        cache.put(key, number, at);
                        if most > 0 {
                            model.retain(|entry| entry.0 != key);
                            model.push((key, number, now));
                        }
                    }
                    Step::Wait(seconds) => now += u64::from(seconds),
                    Step::Resize(entries, seconds) => {
                        (most, ttl) = (usize::from(entries), u64::from(seconds));
                        cache.resize(bounds(most, ttl));
                    }
                    Step::ClearEven => {
                        let before = model.len();
                        model.retain(|entry| entry.0 % 2 == 1);
                        prop_assert_eq!(cache.clear(|key| key % 2 == 0), (before - model.len()) as u64);
                    }
                }
                let beyond = model.len().saturating_sub(most);
                model.drain(..beyond);
                prop_assert_eq!(cache.served(), Served { entries: model.len() as u64, hits, misses });
            }
        }
    }
}
