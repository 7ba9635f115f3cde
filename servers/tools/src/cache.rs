//! Where cached values are kept: in this server's memory, or in Redis for all replicas together. A tenant sees
//! its own keys only.

mod memory;
mod redis;

use crate::guards::{self, Guards};
use crate::tool::Failure;
use mcp_system_config::CacheSettings;
use mcp_system_kit::breaker::State;
use memory::Cache;
pub(crate) use memory::Hit;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The most that all entries in memory together take, whatever their number; and the largest value anywhere.
pub(crate) const MAX_BYTES: usize = 64 << 20;

/// A place for values.
#[derive(Debug)]
pub(crate) enum Store {
    Memory(Mutex<Cache>),
    Redis(redis::Redis),
}

impl Store {
    /// Opens what the settings say; Redis is connected to when it is first needed.
    pub(crate) fn new(
        settings: &CacheSettings,
        environment: &dyn Fn(&str) -> Option<String>,
        guards: &Guards,
    ) -> anyhow::Result<Self> {
        Ok(match &settings.redis {
            Some(settings) => {
                Self::Redis(redis::Redis::new(settings, environment, guards.of(guards::CACHE))?)
            }
            None => Self::Memory(Mutex::new(Cache::new(settings.max_entries as usize, MAX_BYTES))),
        })
    }

    /// The value of a key that has not expired.
    pub(crate) async fn get(&self, tenant: &str, key: &str) -> Result<Option<Hit>, Failure> {
        match self {
            Self::Memory(cache) => Ok(lock(cache).get(&scoped(tenant, key), Instant::now())),
            Self::Redis(redis) => redis.get(tenant, key).await,
        }
    }

    /// Keeps a value; says whether the key had one.
    pub(crate) async fn set(
        &self,
        tenant: &str,
        key: &str,
        value: String,
        ttl: Duration,
    ) -> Result<bool, Failure> {
        match self {
            Self::Memory(cache) => {
                lock(cache).set(scoped(tenant, key), value, ttl, Instant::now()).map_err(|max| {
                    Failure(format!("the value is larger than the whole cache may be, {max} bytes"))
                })
            }
            Self::Redis(redis) => redis.set(tenant, key, value, ttl).await,
        }
    }

    /// Forgets a key; says whether it had a value.
    pub(crate) async fn delete(&self, tenant: &str, key: &str) -> Result<bool, Failure> {
        match self {
            Self::Memory(cache) => Ok(lock(cache).delete(&scoped(tenant, key), Instant::now())),
            Self::Redis(redis) => redis.delete(tenant, key).await,
        }
    }

    /// How many entries are held here; elsewhere it is not known.
    pub(crate) fn len(&self) -> Option<usize> {
        match self {
            Self::Memory(cache) => Some(lock(cache).len()),
            Self::Redis(_) => None,
        }
    }

    /// Takes over new bounds; what no longer fits goes.
    pub(crate) fn resize(&self, max_entries: u32) {
        if let Self::Memory(cache) = self {
            lock(cache).resize(max_entries as usize);
        }
    }

    /// The state of the breaker before Redis.
    pub(crate) fn circuit_breaker(&self) -> Option<State> {
        match self {
            Self::Memory(_) => None,
            Self::Redis(redis) => Some(redis.guarded().state()),
        }
    }

    /// Whether it can be reached.
    pub(crate) async fn check(&self) -> Result<(), String> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Redis(redis) => redis.check().await,
        }
    }
}

fn lock(cache: &Mutex<Cache>) -> MutexGuard<'_, Cache> {
    // A cache is whole after each of its methods, even when a caller panicked.
    cache.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A tenant's key. No tenant's name holds the separator.
fn scoped(tenant: &str, key: &str) -> String {
    format!("{tenant}\u{1f}{key}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcp_system_config::Resilience;
    use mcp_system_kit::Metrics;

    #[tokio::test]
    async fn tenants_do_not_see_each_others_keys() {
        let guards = Guards::new(Resilience::default(), &Metrics::new("tools"));
        let store = Store::new(&CacheSettings::default(), &|_| None, &guards).expect("in memory");
        let ttl = Duration::from_mins(1);
        assert_eq!(store.set("a", "k", "1".into(), ttl).await, Ok(false));
        assert_eq!(store.get("b", "k").await, Ok(None));
        assert_eq!(store.delete("b", "k").await, Ok(false));
        assert_eq!(store.set("b", "k", "2".into(), ttl).await, Ok(false));
        assert_eq!(store.get("a", "k").await.expect("answered").expect("kept").value, "1");
        assert_eq!(store.len(), Some(2));
    }
}
