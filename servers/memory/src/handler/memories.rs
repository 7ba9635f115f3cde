//! The tools that store, find, change and delete memories.

use super::answers::{BatchStored, CachedList, Deleted, Found, List, Memory, MemoryStored};
use super::{Failure, MemoryHandler, new_id, scope};
use crate::arguments::{
    self, BatchMemory, DeleteMemory, GetRecentMemories, SearchMemories, SearchMemoriesCached, StoreMemory,
    StoreMemoryBatch, UpdateMemory,
};
use crate::engine::{self, SESSION_KEYS};
use crate::model::{Draft, Entry, Filter, Key, Kind, Scope};
use crate::moment::Moment;
use crate::store::{Store, StoreError};
use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::model::Extensions;
use rmcp::{tool, tool_router};

/// How often an update is tried again when others change the same memory.
const TRIES: usize = 5;

#[tool_router(router = memories, vis = "pub(super)")]
impl<S: Store> MemoryHandler<S> {
    #[tool(
        title = "Store a memory",
        description = "Remember something for later: a fact, a preference, a decision, a result. It is kept \
                       until it is removed, and only searches with the same agent_id find it. A content that is \
                       stored already is answered with its memory_id and duplicate true.",
        annotations(
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn store_memory(
        &self,
        Parameters(input): Parameters<StoreMemory>,
        extensions: Extensions,
    ) -> Result<Json<MemoryStored>, Failure> {
        let scope = scope(&extensions, arguments::name("agent_id", input.agent_id)?)?;
        let one = BatchMemory {
            content: input.content,
            memory_type: input.memory_type,
            context: input.context,
            importance: input.importance,
            session_id: input.session_id,
            idempotency_key: input.idempotency_key,
        };
        let draft = self.draft(one)?;
        let stored = self.insert(&scope, vec![draft]).await?;
        stored.into_iter().next().map(Json).ok_or_else(Failure::nothing)
    }

    #[tool(
        title = "Store many memories",
        description = "Remember up to 1000 things with one call; see store_memory. When a call fails half-way, \
                       repeat it: what is stored already is recognised.",
        annotations(
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn store_memory_batch(
        &self,
        Parameters(input): Parameters<StoreMemoryBatch>,
        extensions: Extensions,
    ) -> Result<Json<BatchStored>, Failure> {
        let scope = scope(&extensions, arguments::name("agent_id", input.agent_id)?)?;
        arguments::batch("memories", input.memories.len())?;
        let at = |index| move |failure| Failure::Entry { index, failure: Box::new(failure) };
        let drafts = input.memories.into_iter().enumerate();
        let drafts = drafts.map(|(index, one)| self.draft(one).map_err(at(index)));
        let drafts = drafts.collect::<Result<Vec<_>, _>>()?;
        let mut memories = Vec::with_capacity(drafts.len());
        let mut drafts = drafts.into_iter().peekable();
        while drafts.peek().is_some() {
            let chunk: Vec<Draft> = drafts.by_ref().take(self.limits.batch).collect();
            let keys: Vec<Option<Key>> = chunk.iter().map(|draft| draft.idempotency_key.clone()).collect();
            let stored = memories.len();
            memories.extend(self.insert(&scope, chunk).await.map_err(|failure| match failure {
                Failure::KeyReused(error) => {
                    Failure::KeyReusedAt { index: stored + place_of_reused(&error, &keys), stored, error }
                }
                failure => failure,
            })?);
        }
        let duplicates = memories.iter().filter(|stored| stored.duplicate).count();
        Ok(Json(BatchStored { stored: memories.len() - duplicates, duplicates, memories }))
    }

    #[tool(
        title = "Search memories",
        description = "Find what this agent remembers about something, best first, by words and by meaning: memories, \
                       and what was said in conversations. Ask as you would ask a person; filters narrow it down.",
        annotations(read_only_hint = true, open_world_hint = false)
    )]
    async fn search_memories(
        &self,
        Parameters(input): Parameters<SearchMemories>,
        extensions: Extensions,
    ) -> Result<Json<List<Found>>, Failure> {
        let explain = input.explain;
        let (agent_id, search) = input.search()?;
        let scope = scope(&extensions, agent_id)?;
        let found = self.engine.search(&scope, &search, Moment::now()).await?;
        Ok(Json(List::of(found, |found| Found::of(&scope, &found, explain))))
    }

    #[tool(
        title = "Search memories, repeated searches quicker",
        description = "As search_memories, but a repeated search is answered out of a cache for as long as this agent \
                       stores nothing new.",
        annotations(read_only_hint = true, open_world_hint = false)
    )]
    async fn search_memories_cached(
        &self,
        Parameters(input): Parameters<SearchMemoriesCached>,
        extensions: Extensions,
    ) -> Result<Json<CachedList>, Failure> {
        let use_cache = input.use_cache;
        let input = input.into_search();
        let explain = input.explain;
        let (agent_id, search) = input.search()?;
        let scope = scope(&extensions, agent_id)?;
        let (list, cached) = if use_cache {
            let (page, cached) = self.engine.search_cached(&scope, &search).await?;
            (List::of_slice(&page.items, page.truncated, |found| Found::of(&scope, found, explain)), cached)
        } else {
            let page = self.engine.search(&scope, &search, Moment::now()).await?;
            (List::of(page, |found| Found::of(&scope, &found, explain)), false)
        };
        Ok(Json(CachedList::of(list, cached)))
    }

    #[tool(
        title = "Get recent memories",
        description = "List the newest memories of an agent, newest first.",
        annotations(read_only_hint = true, open_world_hint = false)
    )]
    async fn get_recent_memories(
        &self,
        Parameters(input): Parameters<GetRecentMemories>,
        extensions: Extensions,
    ) -> Result<Json<List<Memory>>, Failure> {
        let scope = scope(&extensions, arguments::name("agent_id", input.agent_id)?)?;
        let limit = arguments::limit(input.limit)?;
        let memory_type = arguments::optional("memory_type", input.memory_type)?;
        let filter = Filter { kind: Some(Kind::Memory), memory_type, ..Filter::default() };
        let memories = self.store.recent(&scope, &filter, limit).await?;
        Ok(Json(List::of(memories, |entry| Memory::of(&scope, entry))))
    }

    #[tool(
        title = "Change a memory",
        description = "Correct or complete a memory. What is left out stays as it is.",
        annotations(
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn update_memory(
        &self,
        Parameters(input): Parameters<UpdateMemory>,
        extensions: Extensions,
    ) -> Result<Json<Memory>, Failure> {
        let scope = scope(&extensions, arguments::name("agent_id", input.agent_id)?)?;
        let id = arguments::name("memory_id", input.memory_id)?;
        let content =
            input.content.map(|text| arguments::content("content", text, self.limits)).transpose()?;
        let memory_type = arguments::optional("memory_type", input.memory_type)?;
        let context = arguments::object("context", input.context, self.limits)?;
        let importance = input.importance.map(|it| arguments::fraction("importance", it)).transpose()?;
        for _ in 0..TRIES {
            let kept = self.store.get(&scope, &id).await?;
            let kept = kept.filter(|it| it.entry.archived.is_none() && it.entry.kind() == Kind::Memory);
            let Some(kept) = kept else { return Err(Failure::UnknownMemory(id)) };
            let mut entry = kept.entry;
            entry.updated_at = Moment::now();
            entry.content = content.clone().unwrap_or(entry.content);
            entry.memory_type = memory_type.clone().unwrap_or(entry.memory_type);
            entry.context = context.clone().or(entry.context);
            entry.importance = importance.unwrap_or(entry.importance);
            let draft = engine::draft(entry.clone(), None);
            if self.store.replace(&scope, (kept.number, kept.version), draft).await?.is_some() {
                self.engine.wrote(&scope, kept.number);
                return Ok(Json(Memory::of(&scope, entry)));
            }
        }
        Err(Failure::Contended(id))
    }

    #[tool(
        title = "Delete a memory",
        description = "Forget a memory, or a message of a conversation, for good.",
        annotations(
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn delete_memory(
        &self,
        Parameters(input): Parameters<DeleteMemory>,
        extensions: Extensions,
    ) -> Result<Json<Deleted>, Failure> {
        let scope = scope(&extensions, arguments::name("agent_id", input.agent_id)?)?;
        let memory_id = arguments::name("memory_id", input.memory_id)?;
        let deleted = self.store.delete(&scope, &memory_id).await?;
        Ok(Json(Deleted { memory_id, deleted }))
    }
}

impl<S: Store> MemoryHandler<S> {
    /// A memory of a call, checked and analysed.
    fn draft(&self, input: BatchMemory) -> Result<Draft, Failure> {
        let now = Moment::now();
        let context = arguments::object("context", input.context, self.limits)?;
        let session_id = arguments::optional("session_id", input.session_id)?.or_else(|| {
            let named = |key: &&str| context.as_ref()?.get(*key)?.as_str();
            let session = SESSION_KEYS.iter().find_map(named)?.to_owned();
            arguments::name("session_id", session).ok()
        });
        let entry = Entry {
            id: new_id(),
            speaker: None,
            session_id,
            memory_type: arguments::optional("memory_type", input.memory_type)?
                .unwrap_or_else(|| "general".to_owned()),
            content: arguments::content("content", input.content, self.limits)?,
            context,
            importance: arguments::fraction("importance", input.importance.unwrap_or(0.5))?,
            created_at: now,
            updated_at: now,
            archived: None,
        };
        let key = arguments::optional("idempotency_key", input.idempotency_key)?;
        let key = key.map(|key| Key::of(key, &entry.content));
        Ok(engine::draft(entry, key))
    }

    async fn insert(&self, scope: &Scope, drafts: Vec<Draft>) -> Result<Vec<MemoryStored>, Failure> {
        let inserted = self.store.insert(scope, drafts).await?;
        inserted.iter().filter(|it| !it.duplicate).for_each(|it| self.engine.wrote(scope, it.number));
        Ok(inserted.into_iter().map(|inserted| MemoryStored::of(scope, inserted)).collect())
    }
}

/// The place of the key that was used for something else: before, or by an earlier one of these.
fn place_of_reused(error: &StoreError, keys: &[Option<Key>]) -> usize {
    let StoreError::KeyReused { key: name } = error else { return 0 };
    let keys = keys.iter().enumerate().filter_map(|(place, key)| Some((place, key.as_ref()?)));
    let mut same = keys.filter(|(_, key)| key.name == *name);
    let first = same.next();
    let other = same.find(|(_, key)| first.is_some_and(|(_, first)| first != *key));
    other.or(first).map_or(0, |(place, _)| place)
}
