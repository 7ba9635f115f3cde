//! Watches, which fill the cache and tell the queue.
//!
//! Every object is taken as plain JSON with its metadata, and read only where it is needed: one that cannot
//! be read stops no watch and disturbs no other one, which is what kube's `DeserializeGuard` does for typed
//! watches. Must not know what becomes of what is seen.

use crate::cache::Cache;
use crate::kind::{Kind, SystemKey};
use crate::metrics::Metrics;
use crate::queue::Queue;
use crate::render::SELECTOR;
use futures::{Stream, StreamExt};
use kube::core::{ApiResource, DynamicObject};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use mcp_system_crds::McpSystem;
use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Where watches put what they see.
#[derive(Clone, Debug)]
pub(crate) struct Sink {
    pub(crate) cache: Arc<Cache>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) metrics: Arc<Metrics>,
    /// How many watches have not had their first list yet.
    pub(crate) unsynced: Arc<AtomicUsize>,
}

/// What is watched: in one namespace, or in all.
#[derive(Clone, Debug)]
pub(crate) struct Scope(pub(crate) Option<String>);

impl Scope {
    fn api(&self, client: Client, resource: &ApiResource) -> Api<DynamicObject> {
        match &self.0 {
            Some(namespace) => Api::namespaced_with(client, namespace, resource),
            None => Api::all_with(client, resource),
        }
    }
}

/// Watches systems for ever.
pub(crate) async fn systems(client: Client, scope: Scope, sink: Sink) {
    let api = scope.api(client, &ApiResource::erase::<McpSystem>(&()));
    let mut seen = HashSet::new();
    let handle = |event| {
        let changed: Vec<SystemKey> = match event {
            Event::Init => {
                seen.clear();
                Vec::new()
            }
            Event::Apply(object) => sink.cache.put_system(object).into_iter().collect(),
            Event::InitApply(object) => {
                seen.extend(key(&object));
                sink.cache.put_system(object).into_iter().collect()
            }
            Event::Delete(object) => sink.cache.remove_system(&object).into_iter().collect(),
            Event::InitDone => sink.cache.keep_systems(scope.0.as_deref(), &std::mem::take(&mut seen)),
        };
        sink.queue.add_all(changed);
    };
    follow("McpSystem", watcher(api, watcher::Config::default()), &sink, handle).await;
}

/// Watches what belongs to systems, of one kind, for ever.
pub(crate) async fn children(client: Client, kind: Kind, scope: Scope, sink: Sink) {
    let api = scope.api(client, &kind.resource());
    let mut seen = HashSet::new();
    let handle = |event| {
        let affected: Vec<SystemKey> = match event {
            Event::Init => {
                seen.clear();
                Vec::new()
            }
            Event::Apply(object) => sink.cache.put(kind, object),
            Event::InitApply(object) => {
                seen.extend(key(&object).map(|key| (key.namespace, key.name)));
                sink.cache.put(kind, object)
            }
            Event::Delete(object) => sink.cache.remove(kind, &object).into_iter().collect(),
            Event::InitDone => sink.cache.keep(kind, scope.0.as_deref(), &std::mem::take(&mut seen)),
        };
        sink.queue.add_all(affected);
    };
    follow(kind.name(), watcher(api, watcher::Config::default().labels(SELECTOR)), &sink, handle).await;
}

fn key(object: &DynamicObject) -> Option<SystemKey> {
    Some(SystemKey::new(object.metadata.namespace.clone()?, object.metadata.name.clone()?))
}

async fn follow(
    kind: &'static str,
    events: impl Stream<Item = watcher::Result<Event<DynamicObject>>>,
    sink: &Sink,
    mut handle: impl FnMut(Event<DynamicObject>),
) {
    let mut events = pin!(events.default_backoff());
    let mut is_synced = false;
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                let is_whole = matches!(event, Event::InitDone);
                handle(event);
                if is_whole && !is_synced {
                    is_synced = true;
                    sink.unsynced.fetch_sub(1, Ordering::AcqRel);
                    tracing::debug!(kind, "watching");
                }
            }
            Err(error) => {
                sink.metrics.watch_errors.with_label_values(&[kind]).inc();
                tracing::warn!(kind, %error, "a watch broke off; it is taken up again");
            }
        }
    }
}
