//! The tools of upkeep: optimising, counting, caches, health.

use super::answers::{Cleared, HealthReport, Merge, Optimisation as Answer};
use super::{Failure, MemoryHandler, new_id, own_scopes, scope, scope_of};
use crate::arguments::{
    self, CacheKind, ClearCache, GetMemoryStatistics, Nothing, Optimisation, OptimizeMemoryStorage,
};
use crate::engine::Rules;
use crate::model::{Scope, Statistics};
use crate::moment::Moment;
use crate::store::Store;
use mcp_system_kit::Caller;
use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::model::Extensions;
use rmcp::{tool, tool_router};

#[tool_router(router = upkeep, vis = "pub(super)")]
impl<S: Store> MemoryHandler<S> {
    #[tool(
        title = "Optimize the memory",
        description = "Merge memories that say the same, and put away old ones of little importance. Nothing is deleted: \
                       action undo brings back what a run put away, action purge deletes it for good, action preview only \
                       tells what would be done.",
        annotations(
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn optimize_memory_storage(
        &self,
        Parameters(input): Parameters<OptimizeMemoryStorage>,
        extensions: Extensions,
    ) -> Result<Json<Answer>, Failure> {
        let scope = scope(&extensions, arguments::name("agent_id", input.agent_id)?)?;
        let run_id = arguments::optional("run_id", input.run_id)?;
        let mut answer = Answer {
            run_id: run_id.clone(),
            summary: String::new(),
            examined: 0,
            merged: 0,
            aged_out: 0,
            restored: 0,
            purged: 0,
            merges: Vec::new(),
        };
        match input.action {
            Optimisation::Undo => {
                let restored = self.store.unarchive(&scope, run_id.as_deref()).await;
                answer.restored = restored.map_err(Failure::partly)?;
                answer.summary = format!("{} memories were brought back", answer.restored);
            }
            Optimisation::Purge => {
                let purged = self.store.purge(&scope, run_id.as_deref()).await;
                answer.purged = purged.map_err(Failure::partly)?;
                answer.summary = format!("{} memories were deleted for good", answer.purged);
            }
            action => {
                let rules = arguments::rules(
                    input.compact_threshold,
                    input.archive_below,
                    input.archive_after_days,
                    Moment::now(),
                )?;
                self.optimise(&scope, rules, action == Optimisation::Preview, &mut answer).await?;
            }
        }
        Ok(Json(answer))
    }

    #[tool(
        title = "Get statistics of the memory",
        description = "Count what is stored, of one agent or of all: memories by type, conversations, \
                       messages, sessions, the oldest and the newest memory; for those to whom all belongs, the \
                       bytes on disk, too.",
        annotations(read_only_hint = true, open_world_hint = false)
    )]
    async fn get_memory_statistics(
        &self,
        Parameters(input): Parameters<GetMemoryStatistics>,
        extensions: Extensions,
    ) -> Result<Json<Statistics>, Failure> {
        let (caller, now) = (Caller::of(&extensions), Moment::now());
        let scopes = match arguments::optional("agent_id", input.agent_id)? {
            Some(agent_id) => Some(vec![scope_of(&caller, agent_id)?]),
            None => own_scopes(&caller),
        };
        let mut together = Statistics::default();
        match scopes {
            None => together = self.store.statistics(&caller.tenant, None, now).await?,
            Some(scopes) => {
                for scope in scopes {
                    let one = self.store.statistics(&scope.tenant, Some(&scope.agent_id), now).await?;
                    together.count_in(one);
                }
            }
        }
        if !caller.owns_all() {
            // It tells how much others keep, and by its changes when they do.
            together.store_bytes = None;
        }
        Ok(Json(together))
    }

    #[tool(
        title = "Clear the caches",
        description = "Forget cached answers and memories. Never needed for right answers: a write makes them unused.",
        annotations(
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn clear_cache(
        &self,
        Parameters(input): Parameters<ClearCache>,
        extensions: Extensions,
    ) -> Result<Json<Cleared>, Failure> {
        let caller = Caller::of(&extensions);
        let own = |scope: &Scope| scope.tenant == caller.tenant && caller.may_name(&scope.agent_id);
        let (search, memory) = match input.cache_type {
            CacheKind::Search => (true, false),
            CacheKind::Memory => (false, true),
            CacheKind::All => (true, true),
        };
        Ok(Json(Cleared {
            search: if search { self.engine.clear_searches(own) } else { 0 },
            memory: if memory { self.engine.clear_memories(own) } else { 0 },
        }))
    }

    #[tool(
        title = "Check the memory's health",
        description = "Whether the store answers; for those to whom all belongs, how indexes and caches \
                       serve, too.",
        annotations(read_only_hint = true, open_world_hint = false)
    )]
    async fn health_check(
        &self,
        Parameters(Nothing {}): Parameters<Nothing>,
        extensions: Extensions,
    ) -> Result<Json<HealthReport>, Failure> {
        let error = self.store.check().await.err();
        // It tells how much others keep and ask, and by its changes when they do.
        let report = Caller::of(&extensions).owns_all().then(|| self.engine.report());
        Ok(Json(HealthReport {
            status: if error.is_some() { "degraded" } else { "healthy" },
            version: env!("CARGO_PKG_VERSION"),
            store_error: error.map(|error| error.to_string()),
            indexes: report.map(|report| report.scopes),
            index_bytes: report.map(|report| report.index_bytes),
            search_cache: report.map(|report| report.searches.into()),
            memory_cache: report.map(|report| report.memories.into()),
        }))
    }
}

impl<S: Store> MemoryHandler<S> {
    async fn optimise(
        &self,
        scope: &Scope,
        rules: Rules,
        preview: bool,
        answer: &mut Answer,
    ) -> Result<(), Failure> {
        let run_id = (!preview).then(new_id);
        let done = self.engine.optimise(scope, rules, run_id.as_deref()).await;
        let done = done.map_err(|broken| Failure::broken_off(broken, run_id.clone()))?;
        answer.examined = done.examined;
        answer.merged = done.merged;
        answer.aged_out = done.aged_out;
        let merges = done.merges.into_iter();
        answer.merges = merges.map(|(memory_id, merged_into)| Merge { memory_id, merged_into }).collect();
        let what = format!("{} duplicates, {} old and unimportant", answer.merged, answer.aged_out);
        if preview {
            answer.summary = format!("{what} of {} memories would be put away", answer.examined);
        } else if done.merged + done.aged_out == 0 {
            answer.summary = format!("{} memories, nothing to do", answer.examined);
        } else {
            answer.summary = format!(
                "{} of {} memories were put away ({what}); action undo with this run_id brings them back",
                done.archived, answer.examined
            );
            answer.run_id = run_id;
        }
        Ok(())
    }
}
