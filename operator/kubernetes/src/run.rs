//! The operator from its start to its end.

use crate::apply::{Contests, Refusals};
use crate::asks::Asks;
use crate::cache::Cache;
use crate::controller;
use crate::door::Door;
use crate::http;
use crate::keys::Keys;
use crate::kind::Kind;
use crate::lease::keeper::{Keeper, Leadership, Terms};
use crate::metrics::Metrics;
use crate::monitors;
use crate::options::Options;
use crate::queue::Queue;
use crate::reconcile::Context as Look;
use crate::setbacks::Setbacks;
use crate::watch::{self, Scope, Sink};
use anyhow::Context;
use futures::future::BoxFuture;
use kube::Client;
use mcp_system_plan::Target;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch as signal;
use tokio::task::JoinSet;

/// How long running looks may take to end.
const GRACE: Duration = Duration::from_secs(8);

/// Runs the operator until `shutdown`, then lets go of the lease.
///
/// # Errors
/// What keeps it from starting, and the loss of the lease: the process has to end then, since another
/// operator acts now.
pub fn run(
    options: Options,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> BoxFuture<'static, anyhow::Result<()>> {
    running(options, Box::pin(shutdown))
}

// Boxed: an `async fn` would be compiled once more in each crate that awaits it.
fn running(options: Options, shutdown: BoxFuture<'static, ()>) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(async move {
        options.check()?;
        // An error says only that a provider is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::try_default().await.context("there is no cluster to be reached")?;
        run_with(client, options, shutdown).await
    })
}

async fn run_with(
    client: Client,
    options: Options,
    shutdown: impl Future<Output = ()> + Send,
) -> anyhow::Result<()> {
    let metrics = Arc::new(Metrics::new().context("metrics cannot be set up")?);
    let listener = http::listen(options.listen).await?;
    let scopes = scopes(&options.namespaces);
    let kinds = Kind::BUILT_IN;
    let sink = Sink {
        cache: Arc::new(Cache::default()),
        queue: Arc::new(Queue::default()),
        metrics: metrics.clone(),
        unsynced: Arc::new(AtomicUsize::new(scopes.len() * (kinds.len() + 1))),
    };
    let identity = format!("{}_{}", options.identity, uuid::Uuid::new_v4().simple());
    let (keeper, leadership) = if options.leader_election {
        let terms = Terms {
            namespace: options
                .lease_namespace
                .clone()
                .unwrap_or_else(|| client.default_namespace().to_owned()),
            name: options.lease_name.clone(),
            identity,
            duration: options.lease_duration,
            renew: options.lease_renew,
        };
        let (keeper, leadership) = Keeper::new(client.clone(), terms, metrics.clone());
        (Some(keeper), leadership)
    } else {
        metrics.lead(true);
        (None, Leadership::Always)
    };
    let context = Arc::new(Look {
        door: Door::new(client.clone(), leadership.clone(), metrics.clone()),
        cache: sink.cache.clone(),
        asks: Arc::new(Asks::new(options.probe_interval)),
        refusals: Refusals::default(),
        contests: Contests::default(),
        keys: Keys::default(),
        setbacks: Setbacks::default(),
        metrics: metrics.clone(),
        target: Target::Cluster { image: options.image.clone() },
        monitors: AtomicBool::new(false),
        reporter: options.identity.clone(),
    });

    let mut tasks = JoinSet::new();
    for scope in &scopes {
        for kind in kinds {
            tasks.spawn(watch::children(client.clone(), kind, scope.clone(), sink.clone()));
        }
        tasks.spawn(watch::systems(client.clone(), scope.clone(), sink.clone()));
    }
    tasks.spawn(monitors::follow(client, scopes, sink.clone(), context.clone()));
    {
        let (sink, metrics) = (sink.clone(), metrics.clone());
        tasks.spawn(async move {
            if let Err(error) = http::serve(listener, sink, metrics).await {
                tracing::error!(%error, "health and metrics are not served any more");
            }
        });
    }

    let (stop, stopped) = signal::channel(false);
    let work = AbortHandle(tokio::spawn(lead(context, sink, leadership, options.workers, stopped)));
    let result = keep(keeper, stop, work, shutdown).await;
    tasks.shutdown().await;
    result
}

/// Waits until everything was listed and this process leads, then works until it is told to stop.
async fn lead(
    context: Arc<Look>,
    sink: Sink,
    mut leadership: Leadership,
    workers: usize,
    mut stopped: signal::Receiver<bool>,
) -> anyhow::Result<()> {
    let beginning = async {
        while sink.unsynced.load(Ordering::Acquire) > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tracing::info!(systems = sink.cache.systems().len(), "everything was listed");
        leadership.wait().await;
    };
    tokio::select! {
        () = beginning => {}
        _ = stopped.wait_for(|stop| *stop) => return Ok(()),
    }
    sink.queue.add_all(sink.cache.systems());
    let client = mcp_system_probe::client()?;
    let asking = context.asks.clone().run(client, sink.queue.clone(), context.metrics.clone());
    tokio::select! {
        () = asking => {}
        () = controller::work(context.clone(), sink.queue.clone(), workers, stopped) => {}
    }
    Ok(())
}

/// Keeps the lease while there is work, and lets go of it only when there is none any more.
async fn keep(
    keeper: Option<Keeper>,
    stop: signal::Sender<bool>,
    mut work: AbortHandle,
    shutdown: impl Future<Output = ()> + Send,
) -> anyhow::Result<()> {
    let (free, freed) = tokio::sync::oneshot::channel::<()>();
    let freed = async {
        let _ = freed.await;
    };
    let keeping = async {
        if let Some(keeper) = keeper {
            return keeper.run(freed).await;
        }
        freed.await;
        Ok(())
    };
    let mut keeping = std::pin::pin!(keeping);
    tokio::select! {
        () = shutdown => tracing::info!("stopping"),
        result = &mut keeping => return result,
        result = &mut work.0 => return result.context("the work broke off")?,
    }
    stop.send_replace(true);
    let is_done = tokio::select! {
        result = &mut keeping => return result,
        result = tokio::time::timeout(GRACE, &mut work.0) => result.is_ok(),
    };
    // A write that is still on its way must not meet another leader's: then the lease just expires.
    anyhow::ensure!(is_done, "some work did not end in time; the lease is left to expire");
    let _ = free.send(());
    keeping.await
}

/// A task that ends with whoever waits for it.
struct AbortHandle(tokio::task::JoinHandle<anyhow::Result<()>>);

impl Drop for AbortHandle {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn scopes(namespaces: &[String]) -> Vec<Scope> {
    if namespaces.is_empty() {
        return vec![Scope(None)];
    }
    let mut names: Vec<String> = namespaces.to_vec();
    names.sort();
    names.dedup();
    names.into_iter().map(|name| Scope(Some(name))).collect()
}
