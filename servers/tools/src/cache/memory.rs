//! A bounded cache as a value: entries live for a time, the least recently used goes first.
//!
//! It reads no clock: callers say what time it is.

use lru::LruCache;
use std::time::{Duration, Instant};

/// What a key and its bookkeeping take besides the texts, roughly.
const OVERHEAD: usize = 128;

/// Values, as JSON text, by key.
#[derive(Debug)]
pub(crate) struct Cache {
    entries: LruCache<String, Entry>,
    max_entries: usize,
    max_bytes: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    value: Box<str>,
    expires: Instant,
}

/// A value that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    /// The JSON text.
    pub(crate) value: String,
    /// How long it still lives.
    pub(crate) left: Duration,
}

fn weight(key: &str, value: &str) -> usize {
    key.len() + value.len() + OVERHEAD
}

impl Cache {
    /// An empty cache with these bounds.
    pub(crate) fn new(max_entries: usize, max_bytes: usize) -> Self {
        // Unbounded, because a bounded one sets its whole room aside at once.
        Self { entries: LruCache::unbounded(), max_entries: max_entries.max(1), max_bytes, bytes: 0 }
    }

    /// The value of a key that has not expired; it is then the most recently used.
    pub(crate) fn get(&mut self, key: &str, now: Instant) -> Option<Hit> {
        let entry = self.entries.get(key)?;
        if entry.expires <= now {
            self.remove(key);
            return None;
        }
        Some(Hit { value: entry.value.to_string(), left: entry.expires - now })
    }

    /// Keeps a value, in place of whatever the key had; says whether that was there.
    ///
    /// # Errors
    /// Gives the bound when the value alone is larger than the cache may be.
    pub(crate) fn set(
        &mut self,
        key: String,
        value: String,
        ttl: Duration,
        now: Instant,
    ) -> Result<bool, usize> {
        let weight = weight(&key, &value);
        if weight > self.max_bytes {
            return Err(self.max_bytes);
        }
        let replaced = self.delete(&key, now);
        while self.entries.len() >= self.max_entries || self.bytes + weight > self.max_bytes {
            let Some((key, entry)) = self.entries.pop_lru() else { break };
            self.bytes -= self::weight(&key, &entry.value);
        }
        self.bytes += weight;
        // Past what the clock can tell means for good.
        let expires = now.checked_add(ttl).unwrap_or(now + Duration::from_hours(24 * 365));
        self.entries.put(key, Entry { value: value.into(), expires });
        Ok(replaced)
    }

    /// Takes over another bound; the least recently used go until it is kept.
    pub(crate) fn resize(&mut self, max_entries: usize) {
        self.max_entries = max_entries.max(1);
        while self.entries.len() > self.max_entries {
            let Some((key, entry)) = self.entries.pop_lru() else { break };
            self.bytes -= weight(&key, &entry.value);
        }
    }

    /// Forgets a key; says whether it had a value that had not expired.
    pub(crate) fn delete(&mut self, key: &str, now: Instant) -> bool {
        self.remove(key).is_some_and(|entry| entry.expires > now)
    }

    fn remove(&mut self, key: &str) -> Option<Entry> {
        let entry = self.entries.pop(key)?;
        self.bytes -= weight(key, &entry.value);
        Some(entry)
    }

    /// Entries held, the expired ones that nobody asked for since among them.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    const TTL: Duration = Duration::from_secs(10);

    fn set(cache: &mut Cache, key: &str, value: &str, now: Instant) -> Result<bool, usize> {
        cache.set(key.to_owned(), value.to_owned(), TTL, now)
    }

    #[test]
    fn a_value_lives_for_its_time() {
        let (mut cache, now) = (Cache::new(10, 10_000), Instant::now());
        assert_eq!(set(&mut cache, "k", "1", now), Ok(false));
        let hit = cache.get("k", now + Duration::from_secs(9)).expect("alive");
        assert_eq!(hit, Hit { value: "1".into(), left: Duration::from_secs(1) });
        assert_eq!(set(&mut cache, "k", "2", now), Ok(true));
        assert_eq!(cache.get("k", now + TTL), None);
        assert_eq!(cache.len(), 0, "an expired entry goes when it is asked for");
        set(&mut cache, "k", "3", now).expect("kept");
        assert!(!cache.delete("k", now + TTL), "nothing was there any more");
        assert!(cache.set("k".into(), "4".into(), Duration::MAX, now).is_ok());
        assert!(cache.delete("k", now + TTL));
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let (mut cache, now) = (Cache::new(2, 10_000), Instant::now());
        for key in ["a", "b"] {
            set(&mut cache, key, "1", now).expect("kept");
        }
        cache.get("a", now).expect("there");
        set(&mut cache, "c", "1", now).expect("kept");
        assert_eq!(cache.len(), 2);
        assert!(cache.get("b", now).is_none() && cache.get("a", now).is_some());
    }

    #[test]
    fn a_smaller_bound_lets_the_least_recently_used_go() {
        let (mut cache, now) = (Cache::new(3, 10_000), Instant::now());
        for key in ["a", "b", "c"] {
            set(&mut cache, key, "1", now).expect("kept");
        }
        cache.resize(1);
        assert_eq!(cache.len(), 1);
        assert!(cache.get("c", now).is_some());
        assert!(cache.delete("c", now));
        assert_eq!(cache.bytes, 0);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let (mut cache, now) = (Cache::new(1000, 1000), Instant::now());
        for number in 0..50 {
            set(&mut cache, &number.to_string(), &"x".repeat(100), now).expect("kept");
            assert!(cache.bytes <= 1000);
        }
        assert!(cache.get("49", now).is_some() && cache.get("0", now).is_none());
        assert_eq!(set(&mut cache, "49", &"x".repeat(1000), now), Err(1000));
        assert!(cache.get("49", now).is_some(), "what could not be replaced stays");
        for number in 0..50 {
            cache.delete(&number.to_string(), now);
        }
        assert_eq!((cache.len(), cache.bytes), (0, 0));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Get(u8),
        Set(u8, usize, u64),
        Delete(u8),
        Resize(usize),
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0u8..6).prop_map(Step::Get),
            (0u8..6, 0usize..400, 1u64..20).prop_map(|(key, length, ttl)| Step::Set(key, length, ttl)),
            (0u8..6).prop_map(Step::Delete),
            (1usize..6).prop_map(Step::Resize),
            (0u64..15).prop_map(Step::Wait),
        ]
    }

    proptest! {
        /// Whatever is done: the bounds hold, what is found is what was kept last under its key and has time left, and
        /// what was kept just now is found.
        #[test]
        fn bounds_hold_and_nothing_stale_is_found(steps in prop::collection::vec(step(), 0..200)) {
            let (mut cache, mut now, mut max_entries) = (Cache::new(4, 1000), Instant::now(), 4);
            let mut kept: HashMap<u8, (String, Instant)> = HashMap::new();
            for (place, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Wait(seconds) => now += Duration::from_secs(seconds),
                    Step::Resize(most) => {
                        max_entries = most;
                        cache.resize(most);
                    }
                    Step::Delete(key) => {
                        let was_there = kept.remove(&key).is_some_and(|(_, expires)| expires > now);
                        prop_assert!(!cache.delete(&key.to_string(), now) || was_there);
                    }
                    Step::Get(key) => {
                        if let Some(hit) = cache.get(&key.to_string(), now) {
                            let alive = kept.get(&key).filter(|(_, expires)| *expires > now);
                            let expected = alive
                                .map(|(value, expires)| Hit { value: value.clone(), left: *expires - now });
                            prop_assert_eq!(Some(hit), expected);
                        }
                    }
                    Step::Set(key, length, ttl) => {
                        let (value, ttl) = (format!("{place}{}", "x".repeat(length)), Duration::from_secs(ttl));
                        cache.set(key.to_string(), value.clone(), ttl, now).expect("small enough");
                        kept.insert(key, (value.clone(), now + ttl));
                        prop_assert_eq!(cache.get(&key.to_string(), now), Some(Hit { value, left: ttl }));
                    }
                }
                prop_assert!(cache.len() <= max_entries && cache.bytes <= 1000);
                let weights = cache.entries.iter().map(|(key, entry)| weight(key, &entry.value));
                prop_assert_eq!(cache.bytes, weights.sum::<usize>());
            }
        }
    }
}
