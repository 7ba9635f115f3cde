//! Finding: an index of each scope in memory, derived from the store and never older than it.
//!
//! Before each search the scope's version is asked for; what the index misses is pulled first, so that a fresh write is
//! found at once and no replica answers from an old state. Indexes are loaded on first use; when they take more bytes than
//! they may, those of the least recently used scopes go. The engine must not know MCP.

mod duplicates;
mod embed;
#[cfg(test)]
mod neural_tests;
mod optimise;
mod search;
mod shelf;
#[cfg(test)]
pub(crate) mod tests;

use crate::cache::{Bounds, Cache, Served};
use crate::model::{Draft, Entry, Filter, Kept, Key, Page, Scope};
use crate::moment::Moment;
use crate::neural::Neural;
use crate::store::{Store, StoreError};
use embed::Backlog;
use lru::LruCache;
use mcp_system_retrieval::{Analysis, Parts};
pub use optimise::{BrokenOff, Optimised, Rules};
use rmcp::model::JsonObject;
use serde_json::Value;
use shelf::Shelf;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;
use tokio::sync::watch;

/// What to search for.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    /// Any text; its words and its meaning count.
    pub query: String,
    /// The most entries to return.
    pub limit: u32,
    /// Which entries are looked at.
    pub filter: Filter,
    /// How much the age of an entry changes its score: 0 not at all, 1 altogether.
    pub recency_weight: f64,
    /// How much its importance does.
    pub importance_weight: f64,
}

/// An entry that a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The entry itself.
    pub kept: Arc<Kept>,
    /// How well it fits the query; higher is better. Only scores of one search compare.
    pub score: f32,
    /// What the score was made of, before a second look.
    pub parts: Parts,
    /// How well it answers the query to the model of the second look, from 0 to 1, where it got one.
    pub judgement: Option<f32>,
}

/// How much the engine may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Bytes of all indexes together.
    pub index_bytes: usize,
    /// Answers of searches.
    pub searches: Bounds,
    /// Entries that were read from the store.
    pub memories: Bounds,
}

/// How the engine has served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Scopes whose index is in memory.
    pub scopes: u64,
    /// Bytes of these indexes.
    pub index_bytes: u64,
    /// The cache of searches.
    pub searches: Served,
    /// The cache of entries.
    pub memories: Served,
}

/// The heaviest entry, and the heaviest answer, that is cached: caches are bounded by how many they hold.
const HEAVIEST_ENTRY: usize = 64 << 10;
const HEAVIEST_PAGE: usize = 256 << 10;

/// Entries that are read at once: one search of many large ones must not take all memory.
const READ_AT_ONCE: usize = 50;

/// A search as the cache knows it: in a scope, in a life of the store, at a version, by the models since one change of them.
type SearchKey = (Scope, u64, u64, u64, String);
/// An entry as the cache knows it: in a scope, in a life of the store, its number and its own version.
type MemoryKey = (Scope, u64, u64, u64);

/// Finds entries of a store.
#[derive(Debug)]
pub struct Engine<S> {
    store: Arc<S>,
    shelves: Mutex<LruCache<Scope, Arc<Slot>>>,
    index_bytes: usize,
    searches: Cache<SearchKey, Arc<Page<Found>>>,
    memories: Cache<MemoryKey, Arc<Kept>>,
    neural: watch::Sender<Arc<Neural>>,
    /// How often these were changed, or indexes got vectors of theirs that no change of the store tells of.
    models: AtomicU64,
    backlog: Backlog,
    /// Held by the optimisation that has a portion in memory.
    optimising: Arc<tokio::sync::Mutex<()>>,
}

/// The place of one scope's index.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    /// Held by the one that brings the index up to date; the others wait for it.
    pulling: tokio::sync::Mutex<()>,
    shelf: RwLock<Shelf>,
    /// Bytes of the index, told without its lock: whoever changes it may have that for a while.
    bytes: AtomicUsize,
    /// Whether the scope is too large for an index in memory, and when that was found.
    too_large: Mutex<Option<(Instant, bool)>>,
}

impl Slot {
    fn read<T>(&self, use_it: impl FnOnce(&Shelf) -> T) -> T {
        use_it(&self.shelf.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, use_it: impl FnOnce(&mut Shelf) -> T) -> T {
        let mut locked = self.shelf.write().unwrap_or_else(PoisonError::into_inner);
        let done = use_it(&mut locked);
        self.bytes.store(locked.bytes(), Ordering::Relaxed);
        done
    }

    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn size_judgement(&self) -> Option<(Instant, bool)> {
        *self.too_large.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A scope that is too large gives back the memory that its index takes.
    fn judge_size(&self, too_large: bool) {
        *self.too_large.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), too_large));
        if too_large {
            self.write(|shelf| *shelf = Shelf::default());
        }
    }
}

impl<S: Store> Engine<S> {
    /// Finds what this store holds.
    pub fn new(store: Arc<S>, capacity: Capacity) -> Self {
        Self {
            store,
            shelves: Mutex::new(LruCache::unbounded()),
            index_bytes: capacity.index_bytes,
            searches: Cache::new(capacity.searches),
            memories: Cache::new(capacity.memories),
            neural: watch::Sender::new(Arc::new(Neural::none())),
            models: AtomicU64::new(0),
            backlog: Backlog::default(),
            optimising: Arc::default(),
        }
    }

    /// The neural models that take part.
    pub fn neural(&self) -> Arc<Neural> {
        self.neural.borrow().clone()
    }

    /// Has other models take part from now on. Entries get vectors of the new model in the background, and are found
    /// without them until then; indexes stay, but for their vectors of the model before.
    pub fn take_models(&self, neural: Neural) {
        self.neural.send_replace(Arc::new(neural));
        // Afterwards: whoever sees the new number searches by the new models.
        self.models.fetch_add(1, Ordering::SeqCst);
    }

    /// The store that it finds in.
    pub fn store(&self) -> &Arc<S> {
        &self.store
    }

    fn shelves(&self) -> MutexGuard<'_, LruCache<Scope, Arc<Slot>>> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The best entries of a scope, best first; from the cache when it holds the answer of just this state.
    pub async fn search_cached(
        &self,
        scope: &Scope,
        search: &Search,
    ) -> Result<(Arc<Page<Found>>, bool), StoreError> {
        let version = self.store.version(scope).await?;
        let models = self.models.load(Ordering::SeqCst);
        let key = (scope.clone(), self.store.lives(), version, models, format!("{search:?}"));
        if let Some(page) = self.searches.get(&key, Instant::now()) {
            return Ok((page, true));
        }
        let (page, complete) = self.find(scope, search, Moment::now()).await?;
        let page = Arc::new(page);
        // The state may have moved on meanwhile: then this answer is newer than its key says, which is no harm
        // within the scope, for whoever asks next has a newer version too. One without its models is not kept.
        let weight: usize = page.items.iter().map(|found| found.kept.entry.weight()).sum();
        if complete && weight <= HEAVIEST_PAGE {
            self.searches.put(key, page.clone(), Instant::now());
        }
        Ok((page, false))
    }

    /// The best entries of a scope, best first.
    pub async fn search(
        &self,
        scope: &Scope,
        search: &Search,
        now: Moment,
    ) -> Result<Page<Found>, StoreError> {
        self.find(scope, search, now).await.map(|(page, _)| page)
    }

    /// Entries by their numbers and versions, best first: as many as fill a page, beyond which none is shown.
    async fn entries(
        &self,
        scope: &Scope,
        places: &[(u64, u64)],
    ) -> Result<HashMap<u64, Arc<Kept>>, StoreError> {
        let mut found = HashMap::with_capacity(places.len());
        let mut bytes = 0;
        let mut portions = places.chunks(READ_AT_ONCE).peekable();
        while let Some(places) = portions.next() {
            let read = self.read(scope, places).await?;
            if portions.peek().is_some() {
                bytes += read.iter().map(|kept| kept.entry.weight()).sum::<usize>();
            }
            found.extend(read.into_iter().map(|kept| (kept.number, kept)));
            if bytes > Page::<Found>::MAX_BYTES {
                break;
            }
        }
        Ok(found)
    }

    /// Entries by their numbers and versions, in any order, out of the cache or the store.
    async fn read(&self, scope: &Scope, places: &[(u64, u64)]) -> Result<Vec<Arc<Kept>>, StoreError> {
        let (now, life) = (Instant::now(), self.store.lives());
        let mut read = Vec::with_capacity(places.len());
        let mut missing = Vec::new();
        let mut key: MemoryKey = (scope.clone(), life, 0, 0);
        for &(number, version) in places {
            (key.2, key.3) = (number, version);
            match self.memories.get(&key, now) {
                Some(kept) => read.push(kept),
                None => missing.push(number),
            }
        }
        if !missing.is_empty() {
            for kept in self.store.get_many(scope, &missing).await? {
                let kept = Arc::new(kept);
                if kept.entry.weight() <= HEAVIEST_ENTRY {
                    self.memories.put((scope.clone(), life, kept.number, kept.version), kept.clone(), now);
                }
                read.push(kept);
            }
        }
        Ok(read)
    }

    /// The place of a scope's index, and the scope's version; `None` where nothing was ever stored.
    async fn slot(&self, scope: &Scope) -> Result<Option<(Arc<Slot>, u64)>, StoreError> {
        let version = self.store.version(scope).await?;
        let slot = || self.shelves().get_or_insert(scope.clone(), Arc::default).clone();
        Ok((version > 0).then(|| (slot(), version)))
    }

    /// Brings the index of a scope to what the store was at this version, or to a later one, and to the present model: it never
    /// goes back to one of before, by which a search may have begun.
    async fn bring_up(
        &self,
        scope: &Scope,
        (slot, version): (&Slot, u64),
        in_use: Option<&Scope>,
    ) -> Result<(), StoreError> {
        let life = self.store.lives();
        let is_current = || {
            let neural = self.neural();
            slot.read(|shelf| {
                (shelf.life, shelf.version, shelf.model.as_deref()) == (life, version, neural.model())
            })
        };
        if is_current() {
            return Ok(());
        }
        {
            let _pulling = slot.pulling.lock().await;
            if !is_current() {
                let neural = self.neural();
                shelf::pull(&*self.store, scope, slot, neural.model()).await?;
            }
        }
        self.make_room(in_use);
        Ok(())
    }

    /// Lets go of the indexes of least recently used scopes until the rest fits; that of a scope that is in use stays.
    fn make_room(&self, in_use: Option<&Scope>) {
        // Freed after the list, which every search looks into, is let go of.
        let mut gone = Vec::new();
        let mut shelves = self.shelves();
        let mut bytes: usize = shelves.iter().map(|(_, slot)| slot.bytes()).sum();
        while bytes > self.index_bytes && shelves.len() > 1 {
            let oldest = shelves.peek_lru().map(|(oldest, _)| oldest);
            if let Some(scope) = in_use.filter(|scope| oldest == Some(scope)) {
                shelves.promote(scope);
            } else if let Some((_, slot)) = shelves.pop_lru() {
                bytes = bytes.saturating_sub(slot.bytes());
                gone.push(slot);
            }
        }
        drop(shelves);
    }

    /// Loads the indexes of the scopes that were last written to, until half of the room is taken.
    pub async fn warm(&self) {
        let scopes = self.store.recent_scopes(None, 100).await.unwrap_or_default();
        for scope in scopes {
            if self.report().index_bytes * 2 > self.index_bytes as u64 {
                return;
            }
            let load = async {
                match self.slot(&scope).await? {
                    Some((slot, version)) if !self.too_large(&scope, &slot).await? => {
                        self.bring_up(&scope, (&slot, version), Some(&scope)).await
                    }
                    _ => Ok(()),
                }
            };
            if let Err(error) = load.await {
                tracing::warn!(%error, "an index could not be loaded ahead");
                return;
            }
        }
    }

    /// Takes over new bounds of the caches.
    pub fn resize(&self, searches: Bounds, memories: Bounds) {
        self.searches.resize(searches);
        self.memories.resize(memories);
    }

    /// Forgets the cached searches of the scopes that are chosen; answers how many.
    pub fn clear_searches(&self, chosen: impl Fn(&Scope) -> bool) -> u64 {
        self.searches.clear(|(scope, ..)| chosen(scope))
    }

    /// Forgets the cached entries of the scopes that are chosen; answers how many.
    pub fn clear_memories(&self, chosen: impl Fn(&Scope) -> bool) -> u64 {
        self.memories.clear(|(scope, ..)| chosen(scope))
    }

    /// How it has served.
    pub fn report(&self) -> Report {
        let shelves = self.shelves();
        Report {
            scopes: shelves.len() as u64,
            index_bytes: shelves.iter().map(|(_, slot)| slot.bytes() as u64).sum(),
            searches: self.searches.served(),
            memories: self.memories.served(),
        }
    }
}

/// A draft of an entry, analysed.
pub fn draft(entry: Entry, idempotency_key: Option<Key>) -> Draft {
    let analysis = analyse(&entry.content, entry.context.as_ref()).to_bytes();
    Draft { entry, idempotency_key, analysis }
}

/// The analysis of a text and of the words in its context.
fn analyse(text: &str, context: Option<&JsonObject>) -> Analysis {
    let aside = context.map(|context| {
        let mut words = String::new();
        context.iter().filter(|(key, _)| !SESSION_KEYS.contains(&key.as_str())).for_each(|(key, value)| {
            words.push_str(key);
            words.push(' ');
            collect_words(value, &mut words);
        });
        words
    });
    Analysis::of(text, aside.as_deref())
}

/// Names under which clients put a session into a context; its id says nothing about the text.
pub const SESSION_KEYS: [&str; 2] = ["session_id", "session"];

fn collect_words(value: &Value, words: &mut String) {
    match value {
        Value::String(text) => {
            words.push_str(text);
            words.push(' ');
        }
        Value::Number(number) => {
            words.push_str(&number.to_string());
            words.push(' ');
        }
        Value::Array(items) => items.iter().for_each(|item| collect_words(item, words)),
        Value::Object(fields) => fields.iter().for_each(|(key, value)| {
            words.push_str(key);
            words.push(' ');
            collect_words(value, words);
        }),
        Value::Null | Value::Bool(_) => {}
    }
}
