//! The memory server: what agents remember, and what was said in their conversations.
//!
//! `handler` speaks MCP, `arguments` tells usable calls from others, `engine` finds, `neural` holds what models add to
//! that, `model` holds the values and `store` keeps them; `backup` and `moving` take all of it elsewhere, and `intake` takes a
//! backup in, also while the server serves. The server knows
//! its own settings and its data directory; it must not know Kubernetes, the plan, or any other server.

mod arguments;
pub mod backup;
pub mod cache;
pub mod engine;
mod handler;
mod hex;
pub mod intake;
mod locked;
mod measures;
pub mod model;
pub mod moment;
pub mod moving;
mod neural;
pub mod store;

use anyhow::Context;
pub use arguments::{Limits, Unusable};
use cache::Bounds;
use engine::{Capacity, Engine};
use futures::future::BoxFuture;
pub use handler::MemoryHandler;
use mcp_system_config::{MemorySettings, PostgresSettings, ServerConfig, Settings};
use mcp_system_kit::breaker::State;
use mcp_system_kit::{Dependencies, Dependency, Metrics, Reloaded, Server};
use mcp_system_weaviate::Weaviate;
use moving::Moved;
use neural::Neural;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use store::postgres::{self, PostgresStore};
use store::sqlite::{Options, SqliteStore};
use tokio::net::UnixListener;

/// Serves until `shutdown` resolves: from a PostgreSQL database where the settings name one, otherwise from the
/// embedded store in the directory `data`.
pub fn serve(
    settings: impl Into<Reloaded<MemorySettings>>,
    data: &Path,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> BoxFuture<'static, anyhow::Result<()>> {
    let data = data.to_owned();
    serving(settings.into(), data, Box::pin(shutdown))
}

// Boxed: an `async fn` would be compiled, with both stores, in each crate that awaits it.
fn serving(
    settings: Reloaded<MemorySettings>,
    data: PathBuf,
    shutdown: BoxFuture<'static, ()>,
) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(async move {
        let config = settings.current();
        match &config.settings.postgres {
            Some(database) => serve_from_postgres(settings, &config, database, shutdown).await,
            None => serve_embedded(settings, &config, &data, shutdown).await,
        }
    })
}

async fn serve_embedded(
    settings: Reloaded<MemorySettings>,
    config: &ServerConfig<MemorySettings>,
    data: &Path,
    mut shutdown: BoxFuture<'static, ()>,
) -> anyhow::Result<()> {
    let options = options(&config.settings);
    let Some(store) = opened(Box::pin(SqliteStore::open(data, &options)), &mut shutdown).await? else {
        return Ok(());
    };
    let intake = intake::listen(data)
        .inspect_err(|error| {
            tracing::warn!("backups are taken in only while this server is stopped: {error:#}");
        })
        .ok();
    run(settings, store, intake, Dependencies::default(), metrics(), shutdown).await
}

fn metrics() -> Metrics {
    Metrics::new(MemorySettings::KIND.name())
}

/// What the settings say of the embedded store.
fn options(settings: &MemorySettings) -> Options {
    Options {
        pool: settings.pool.clone(),
        synchronous: settings.synchronous,
        batch: settings.batch_size as usize,
        max_pages: None,
    }
}

async fn serve_from_postgres(
    settings: Reloaded<MemorySettings>,
    config: &ServerConfig<MemorySettings>,
    database: &PostgresSettings,
    mut shutdown: BoxFuture<'static, ()>,
) -> anyhow::Result<()> {
    let metrics = metrics();
    let options = postgres::Options::of(database, &config.resilience, variable, Some(&metrics))?;
    let Some(store) = opened(Box::pin(PostgresStore::open(&options)), &mut shutdown).await? else {
        return Ok(());
    };
    store.show(&metrics);
    let dependencies = Dependencies::default();
    if let Some(weaviate) = options.weaviate.clone() {
        dependencies.insert("weaviate", Vectors(weaviate));
    }
    let (logins, file) = (store.logins(&options), database.url_file.clone());
    let another_database = async move {
        match file {
            Some(file) => logins.follow(&file).await,
            None => std::future::pending().await,
        }
    };
    // Whoever started this process starts it again: connections to two databases must never stand side by side.
    let shutdown = Box::pin(async move {
        tokio::select! {
            () = shutdown => {}
            () = another_database => tracing::info!("the URL names another database: ending, to begin anew with it"),
        }
    });
    run(settings, store, None, dependencies, metrics, shutdown).await
}

/// The store, unless the server is to end before it is open: a database may be long in answering.
async fn opened<S>(
    opening: BoxFuture<'_, anyhow::Result<S>>,
    shutdown: &mut BoxFuture<'static, ()>,
) -> anyhow::Result<Option<S>> {
    tokio::select! {
        store = opening => store.map(Some).context("the store cannot be used"),
        () = shutdown => Ok(None),
    }
}

/// Opens the database of the settings.
///
/// # Errors
/// Where the settings name none, or it cannot be used.
pub async fn open_postgres(config: &ServerConfig<MemorySettings>) -> anyhow::Result<PostgresStore> {
    PostgresStore::open(&database(config)?).await
}

/// Takes the tables in the database of the settings to another version; see [`postgres::migrate`].
///
/// # Errors
/// Where the settings name no database, it cannot be used, or there is no such version.
pub async fn migrate_postgres(config: &ServerConfig<MemorySettings>, version: i32) -> anyhow::Result<()> {
    postgres::migrate(&database(config)?, version).await
}

/// How the database of the settings is reached.
fn database(config: &ServerConfig<MemorySettings>) -> anyhow::Result<postgres::Options> {
    let database = config.settings.postgres.as_ref().context("the settings name no PostgreSQL database")?;
    postgres::Options::of(database, &config.resilience, variable, None)
}

/// A variable of the environment that is set.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Takes everything from the embedded store in a directory into the database of the settings, and sees that it is
/// there, unless just that was moved there before. No server may use the directory meanwhile.
///
/// # Errors
/// Where a store cannot be used, or the database does not hold what it was given.
pub async fn move_to_postgres(config: &ServerConfig<MemorySettings>, data: &Path) -> anyhow::Result<Moved> {
    let from =
        SqliteStore::open(data, &Options::default()).await.context("the embedded store cannot be used")?;
    let moved = match open_postgres(config).await {
        Ok(to) => {
            let moved = moving::transfer_once(&from, &to).await;
            to.close().await;
            moved
        }
        Err(error) => Err(error),
    };
    from.close().await;
    let moved = moved?;
    moving::note(data, &moved)?;
    Ok(moved)
}

async fn run<S: Store>(
    settings: Reloaded<MemorySettings>,
    store: S,
    intake: Option<UnixListener>,
    dependencies: Dependencies,
    metrics: Metrics,
    shutdown: BoxFuture<'static, ()>,
) -> anyhow::Result<()> {
    let store = Arc::new(store);
    let config = settings.current();
    let engine = Arc::new(Engine::new(store.clone(), capacity(&config.settings)));
    settings.beside(|config| mcp_system_embedding::stamps(&config.settings.embeddings));
    engine.take_models(models(&config, &metrics)?);
    show(&dependencies, &engine);
    prepare_models(&settings, &engine, &dependencies, &metrics);
    let mut background = vec![
        tokio::spawn({
            let engine = engine.clone();
            async move { engine.embed_entries().await }
        }),
        tokio::spawn({
            let engine = engine.clone();
            async move { engine.warm().await }
        }),
        tokio::spawn(follow(settings.clone(), engine.clone())),
    ];
    background.extend(
        intake.map(|listener| tokio::spawn(intake::serve(listener, engine.clone(), intake::SILENCE))),
    );
    let served = server(settings, &engine, dependencies, metrics).run(shutdown).await;
    background.iter().for_each(tokio::task::JoinHandle::abort);
    // Closed in any case: a server that could not listen has opened its store all the same.
    store.close().await;
    served
}

/// What the settings allow the engine to hold.
fn capacity(settings: &MemorySettings) -> Capacity {
    let bounds = |entries: u32, seconds: u32| Bounds {
        entries: entries as usize,
        ttl: Duration::from_secs(seconds.into()),
    };
    let cache = &settings.cache;
    Capacity {
        index_bytes: (settings.index_megabytes as usize) << 20,
        searches: bounds(cache.max_entries / 2, cache.ttl_seconds),
        memories: bounds(cache.max_entries, cache.ttl_seconds.saturating_mul(2)),
    }
}

/// The models that the settings name, loaded.
fn models(config: &ServerConfig<MemorySettings>, metrics: &Metrics) -> anyhow::Result<Neural> {
    Ok(Neural::of(&config.settings.embeddings, &config.resilience, &variable, Some(metrics))?)
}

/// Has settings be taken over together with the models that they name, when these are others: by the settings, or since a file of
/// weights holds others.
fn prepare_models<S: Store>(
    settings: &Reloaded<MemorySettings>,
    engine: &Arc<Engine<S>>,
    dependencies: &Dependencies,
    metrics: &Metrics,
) {
    let (engine, dependencies, metrics) = (engine.clone(), dependencies.clone(), metrics.clone());
    settings.prepare(move |config| {
        // Weights that are in use are not read again, and need not be there any more, for the sake of other settings.
        if engine.neural().are_of(&config.settings.embeddings) {
            return Ok(Box::new(|| {}));
        }
        let models = models(config, &metrics)?;
        let (engine, dependencies) = (engine.clone(), dependencies.clone());
        Ok(Box::new(move || {
            tracing::info!(model = models.model(), "taking over other neural models");
            engine.take_models(models);
            show_models(&dependencies, &engine);
        }))
    });
}

/// Takes over new bounds and limits whenever the settings change.
async fn follow<S: Store>(settings: Reloaded<MemorySettings>, engine: Arc<Engine<S>>) {
    let mut changes = settings.subscribe();
    while changes.changed().await.is_ok() {
        let config = changes.borrow_and_update().clone();
        let capacity = capacity(&config.settings);
        engine.resize(capacity.searches, capacity.memories);
        engine.store().take_resilience(&config.resilience);
        engine.neural().take_resilience(&config.resilience);
    }
}

/// The server around an engine.
fn server<S: Store>(
    settings: Reloaded<MemorySettings>,
    engine: &Arc<Engine<S>>,
    dependencies: Dependencies,
    metrics: Metrics,
) -> Server {
    if let Err(error) = measures::register(&metrics, engine.clone()) {
        tracing::error!(%error, "the measures of the engine cannot be shown");
    }
    let handler = MemoryHandler::new(engine.clone(), Limits::of(&settings.current().settings));
    Server::new(settings, handler).metrics(metrics).dependencies(dependencies)
}

/// Has health show what the engine depends on.
fn show<S: Store>(dependencies: &Dependencies, engine: &Arc<Engine<S>>) {
    dependencies.insert("store", Health(engine.store().clone()));
    show_models(dependencies, engine);
}

/// Shows the models in health, where there are some.
fn show_models<S: Store>(dependencies: &Dependencies, engine: &Arc<Engine<S>>) {
    if engine.neural().is_empty() {
        dependencies.remove("models");
    } else {
        dependencies.insert("models", Models(engine.clone()));
    }
}

/// The neural models as the server's health shows them.
struct Models<S: Store>(Arc<Engine<S>>);

impl<S: Store> Dependency for Models<S> {
    async fn check(&self) -> Result<(), String> {
        // What the last call found: an endpoint may cost something, so nothing is called just to see.
        self.0.neural().failure().map_or(Ok(()), Err)
    }

    fn circuit_breaker(&self) -> Option<State> {
        self.0.neural().circuit_breaker()
    }
}

/// A store as the server's health shows it.
struct Health<S>(Arc<S>);

impl<S: Store> Dependency for Health<S> {
    async fn check(&self) -> Result<(), String> {
        self.0.check().await.map_err(|error| error.to_string())
    }

    fn circuit_breaker(&self) -> Option<State> {
        self.0.circuit_breaker()
    }
}

/// The Weaviate that indexes vectors, as the server's health shows it.
struct Vectors(Arc<Weaviate>);

impl Dependency for Vectors {
    async fn check(&self) -> Result<(), String> {
        self.0.check().await.map_err(|error| error.to_string())
    }

    fn circuit_breaker(&self) -> Option<State> {
        Some(self.0.circuit_breaker())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_sizes_the_caches_and_the_batches() {
        let mut config = ServerConfig::<MemorySettings>::of_kind();
        let bounds = |entries, seconds| Bounds { entries, ttl: Duration::from_secs(seconds) };
        let of = |config: &ServerConfig<MemorySettings>| {
            let Capacity { searches, memories, .. } = capacity(&config.settings);
            (searches, memories)
        };
        assert_eq!(of(&config), (bounds(500, 300), bounds(1000, 600)), "as the guide says");
        let lookup = |name: &str| match name {
            "MCP_CACHE_SIZE" => Some("70".to_owned()),
            "MCP_CACHE_TTL" => Some("11".to_owned()),
            "MCP_BATCH_SIZE" => Some("9".to_owned()),
            _ => None,
        };
        config.apply_environment(&lookup).expect("applies");
        assert_eq!(of(&config), (bounds(35, 11), bounds(70, 22)));
        assert_eq!(config.settings.batch_size, 9);
        assert_eq!(options(&config.settings).batch, 9);
        let error =
            config.apply_environment(&|name: &str| (name == "MCP_CACHE_TTL").then(|| "5m".to_owned()));
        let error = error.expect_err("no number").to_string();
        assert!(error.contains("MCP_CACHE_TTL") && error.contains("a number of seconds"), "{error}");
    }
}
