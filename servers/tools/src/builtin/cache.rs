//! `cache_get`, `cache_set`, `cache_delete`: one cache for all callers of a tenant.

use super::CACHE;
use crate::cache::{MAX_BYTES, Store};
use crate::tool::{About, Call, Effect, Failure, Tool};
use anyhow::Context;
use mcp_system_kit::Metrics;
use prometheus::{IntCounter, IntGauge};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// The cache with its measures; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    store: Arc<Store>,
    ttl: Duration,
    measures: Measures,
}

/// What is counted; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Measures {
    hits: IntCounter,
    misses: IntCounter,
    entries: IntGauge,
}

impl Measures {
    pub(crate) fn new(metrics: &Metrics) -> anyhow::Result<Self> {
        let lookups = metrics
            .counter("cache_lookups_total", "Look-ups in the cache, by result", &["result"])
            .context("the cache's counter")?;
        let entries = metrics
            .gauge("cache_entries", "Entries in the cache in memory", &[])
            .context("the cache's gauge")?;
        Ok(Self {
            hits: lookups.with_label_values(&["hit"]),
            misses: lookups.with_label_values(&["miss"]),
            entries: entries.with_label_values::<&str>(&[]),
        })
    }
}

impl Shared {
    pub(crate) fn new(store: Arc<Store>, ttl_seconds: u32, measures: Measures) -> Self {
        Self { store, ttl: Duration::from_secs(ttl_seconds.into()), measures }
    }

    fn count_entries(&self) {
        if let Some(entries) = self.store.len() {
            self.measures.entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
        }
    }
}

#[derive(Debug)]
pub(super) struct CacheGet(pub(super) Shared);

#[derive(Debug)]
pub(super) struct CacheSet(pub(super) Shared);

#[derive(Debug)]
pub(super) struct CacheDelete(pub(super) Shared);

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Key {
    /// The key of the entry.
    #[schemars(length(min = 1, max = 512))]
    key: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Set {
    /// The key by which it is found again. All callers of a tenant share one cache, so put something
    /// of your own before it, for example "research/weather".
    #[schemars(length(min = 1, max = 512))]
    key: String,
    /// Any JSON value.
    value: Value,
    /// Seconds until it is forgotten. The default is the server's, five minutes unless configured.
    #[serde(default)]
    #[schemars(range(min = 1, max = 31_536_000))]
    ttl_seconds: Option<u32>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Got {
    key: String,
    /// Whether the key had a value.
    found: bool,
    /// The value; absent when there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
    /// Seconds until it is forgotten; absent when there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in_seconds: Option<u64>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Kept {
    key: String,
    /// Whether the key had a value before.
    replaced: bool,
    /// Seconds until it is forgotten.
    expires_in_seconds: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Deleted {
    key: String,
    /// Whether the key had a value.
    deleted: bool,
}

impl Tool for CacheGet {
    type Input = Key;
    type Output = Got;

    fn about(&self) -> About {
        About {
            name: "cache_get",
            title: "Get a cached value",
            category: CACHE,
            description: "Get the value that cache_set kept under a key, unless it has expired.",
            keywords: &["read", "load", "lookup", "retrieve", "recall", "stored"],
            effect: Effect::Reads,
            open_world: false,
        }
    }

    async fn execute(&self, Key { key }: Key, call: &Call) -> Result<Got, Failure> {
        let hit = self.0.store.get(&call.tenant, &key).await?;
        let Some(hit) = hit else {
            self.0.measures.misses.inc();
            return Ok(Got { key, found: false, value: None, expires_in_seconds: None });
        };
        self.0.measures.hits.inc();
        let value = serde_json::from_str(&hit.value).map_err(|error| Failure(error.to_string()))?;
        Ok(Got { key, found: true, value: Some(value), expires_in_seconds: Some(hit.left.as_secs()) })
    }
}

impl Tool for CacheSet {
    type Input = Set;
    type Output = Kept;

    fn about(&self) -> About {
        About {
            name: "cache_set",
            title: "Cache a value",
            category: CACHE,
            description: "Keep a JSON value under a key for a while. It is gone when \
                          its time is over, when the cache needs the room, or when it restarts: for \
                          what must last, use a memory server.",
            keywords: &[
                "write", "save", "store", "put", "keep", "remember", "later", "ttl", "expire", "live",
            ],
            effect: Effect::Writes { destructive: true, idempotent: true },
            open_world: false,
        }
    }

    async fn execute(&self, Set { key, value, ttl_seconds }: Set, call: &Call) -> Result<Kept, Failure> {
        let ttl = ttl_seconds.map_or(self.0.ttl, |seconds| Duration::from_secs(seconds.into()));
        let text = value.to_string();
        if text.len() > MAX_BYTES {
            return Err(Failure(format!(
                "the value is larger than the whole cache may be, {MAX_BYTES} bytes"
            )));
        }
        let replaced = self.0.store.set(&call.tenant, &key, text, ttl).await?;
        self.0.count_entries();
        Ok(Kept { key, replaced, expires_in_seconds: ttl.as_secs() })
    }
}

impl Tool for CacheDelete {
    type Input = Key;
    type Output = Deleted;

    fn about(&self) -> About {
        About {
            name: "cache_delete",
            title: "Delete a cached value",
            category: CACHE,
            description: "Forget the value under a key.",
            keywords: &["remove", "forget", "clear", "drop", "invalidate", "evict"],
            effect: Effect::Writes { destructive: true, idempotent: true },
            open_world: false,
        }
    }

    async fn execute(&self, Key { key }: Key, call: &Call) -> Result<Deleted, Failure> {
        let deleted = self.0.store.delete(&call.tenant, &key).await?;
        self.0.count_entries();
        Ok(Deleted { key, deleted })
    }
}
