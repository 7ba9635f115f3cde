//! A server from its start to its end.

use crate::callers::Access;
use crate::client::plain_client;
use crate::dependencies::Dependencies;
use crate::dependency::Dependency;
use crate::guarded::Guarded;
use crate::handler::Handler;
use crate::health::{Health, Own};
use crate::limits::Limits;
use crate::listener::{Ends, accept};
use crate::mcp;
use crate::metrics::Metrics;
use crate::observed::Observed;
use crate::profiling;
use crate::reload::{Common, Reloaded, SettingsFile, Told, follow};
use crate::routes::{Shared, router};
use crate::self_check::SelfCheck;
use crate::telemetry;
use anyhow::{Context, bail};
use axum::Router;
use futures::future::BoxFuture;
use mcp_system_config::{ServerKind, Settings};
use rmcp::ServerHandler;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// How often a server asks itself once it has answered, and at first.
const ASK_EVERY: Duration = Duration::from_secs(5);
const ASK_AGAIN: Duration = Duration::from_millis(100);

type Around = Box<dyn FnOnce(Router) -> Router + Send>;

/// One server: an MCP handler with everything around it.
///
/// One handler serves all requests. Its `get_tool` should know its tools: what it does not know is counted as `unknown` in the metrics until the
/// server has listed it.
pub struct Server {
    kind: ServerKind,
    settings: watch::Receiver<Arc<Common>>,
    file: Option<SettingsFile>,
    handler: Arc<dyn Handler>,
    /// Hosts and origins besides those of the settings.
    allowed: (Vec<String>, Vec<String>),
    metrics: Metrics,
    dependencies: Dependencies,
    guards: Vec<Arc<Guarded>>,
    routes: Option<Router>,
    around: Vec<Around>,
    ready: BoxFuture<'static, ()>,
    at_end: Vec<BoxFuture<'static, anyhow::Result<()>>>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Server {
    /// A server with these settings around this handler. A plain [`ServerConfig`](mcp_system_config::ServerConfig)
    /// never changes; a [`Reloaded`] does with its file, and the handler may keep a clone of it.
    pub fn new<S: Settings>(settings: impl Into<Reloaded<S>>, handler: impl ServerHandler) -> Self {
        let settings = settings.into();
        Self {
            kind: S::KIND,
            settings: settings.common(),
            file: settings.file(),
            handler: Arc::new(handler),
            allowed: (Vec::new(), Vec::new()),
            metrics: Metrics::new(S::KIND.name()),
            dependencies: Dependencies::default(),
            guards: Vec::new(),
            routes: None,
            around: Vec::new(),
            ready: Box::pin(std::future::ready(())),
            at_end: Vec::new(),
        }
    }

    /// Lets in these names of the Host header and these web origins as well.
    #[must_use]
    pub fn allow(mut self, hosts: Vec<String>, origins: Vec<String>) -> Self {
        self.allowed.0.extend(hosts);
        self.allowed.1.extend(origins);
        self
    }

    /// Measures into this registry, which the handler may use as well.
    #[must_use]
    pub fn metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Checks this in the background and shows it in `/health`. While it fails, the server is degraded.
    #[must_use]
    pub fn dependency(self, name: &str, check: impl Dependency) -> Self {
        self.dependencies.insert(name, check);
        self
    }

    /// Checks these, of which there may be more or fewer while the server runs, instead of those so far.
    #[must_use]
    pub fn dependencies(mut self, dependencies: Dependencies) -> Self {
        self.dependencies = dependencies;
        self
    }

    /// Has this guard follow the settings (`resilience`) as they change.
    #[must_use]
    pub fn guarded(mut self, guarded: Arc<Guarded>) -> Self {
        self.guards.push(guarded);
        self
    }

    /// Keeps the server unready until this is done. It must end by itself.
    #[must_use]
    pub fn ready_after(mut self, ready: impl Future<Output = ()> + Send + 'static) -> Self {
        self.ready = Box::pin(ready);
        self
    }

    /// Runs this when the last call is done or cut off, such as to flush a store.
    #[must_use]
    pub fn on_shutdown(mut self, at_end: impl Future<Output = anyhow::Result<()>> + Send + 'static) -> Self {
        self.at_end.push(Box::pin(at_end));
        self
    }

    /// Adds routes. They are not protected by the endpoint's checks of Host and Origin.
    #[must_use]
    pub fn route(mut self, routes: Router) -> Self {
        self.routes = Some(self.routes.unwrap_or_default().merge(routes));
        self
    }

    /// Puts this around all routes, such as a layer that sees each request before the server does.
    #[must_use]
    pub fn around(mut self, around: impl FnOnce(Router) -> Router + Send + 'static) -> Self {
        self.around.push(Box::new(around));
        self
    }

    /// Binds the configured address and serves there; see [`Self::run_on`].
    pub fn run<'a>(
        self,
        shutdown: impl Future<Output = ()> + Send + 'a,
    ) -> BoxFuture<'a, anyhow::Result<()>> {
        self.bind_and_serve(Box::pin(shutdown))
    }

    /// Serves on a bound socket until `shutdown` resolves. Then readiness fails at once, calls are served
    /// through the drain, new ones are refused, and running ones finish within the grace period.
    ///
    /// # Errors
    /// Tells that calls were cut off at the end of the grace period, or what failed at the end.
    pub fn run_on<'a>(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'a,
    ) -> BoxFuture<'a, anyhow::Result<()>> {
        self.boxed(listener, Box::pin(shutdown))
    }

    fn bind_and_serve(self, shutdown: BoxFuture<'_, ()>) -> BoxFuture<'_, anyhow::Result<()>> {
        Box::pin(async move {
            let listen = self.settings.borrow().listen.clone();
            let address = SocketAddr::new(listen.host, listen.port);
            let listener = TcpListener::bind(address)
                .await
                .with_context(|| format!("the {} server cannot listen on {address}", self.kind))?;
            self.serve(listener, shutdown).await
        })
    }

    fn boxed(self, listener: TcpListener, shutdown: BoxFuture<'_, ()>) -> BoxFuture<'_, anyhow::Result<()>> {
        Box::pin(self.serve(listener, shutdown))
    }

    async fn serve(self, listener: TcpListener, shutdown: BoxFuture<'_, ()>) -> anyhow::Result<()> {
        let address = listener.local_addr().context("the socket has no address")?;
        let config = self.settings.borrow().clone();
        let (access, keys) = Access::open(&config.callers)?;
        let (access, limits) = (Arc::new(access), Limits::new(&config.listen));
        self.metrics.show(&limits);
        let told = Told::new(&self.metrics).context("the measures of reloads are registered already")?;
        let check = SelfCheck::new()?;
        let versions = self.handler.supported_protocol_versions();
        let health = Arc::new(Health::new(
            self.kind.name(),
            self.metrics.clone(),
            versions.iter().map(|version| version.as_str().to_owned()).collect(),
            self.dependencies.clone(),
            told.clone(),
        ));
        let ends = Ends::default();
        let tracker = TaskTracker::new();
        let handler = Observed { inner: self.handler, metrics: self.metrics.clone(), check: check.clone() };
        let mut listen = config.listen.clone();
        listen.allowed_hosts.extend(self.allowed.0);
        listen.allowed_origins.extend(self.allowed.1);
        let service = mcp::service(handler, &listen, ends.cut_off.clone());
        let shared = Shared {
            health: health.clone(),
            access: access.clone(),
            check: check.clone(),
            limits: limits.clone(),
        };
        let routes = router(service, self.routes, shared);
        let routes = self.around.into_iter().fold(routes, |routes, around| around(routes));
        let profiles =
            profiling::serve(self.settings.clone(), address.port(), self.metrics.clone(), health.clone());
        let accepting = spawn(accept(
            listener,
            routes,
            self.metrics,
            listen.max_connections,
            ends.clone(),
            tracker.clone(),
        ));
        tracing::info!(server = self.kind.name(), %address, "listening");
        let background = [
            spawn(ask(check, format!("http://{}/mcp", reachable(address)), health.clone())),
            spawn(gate(self.ready, health.clone())),
            spawn(self.dependencies.watch()),
            spawn(follow(self.file, access, keys, told)),
            spawn(apply(self.settings.clone(), limits, self.guards)),
            spawn(profiles),
        ];

        shutdown.await;
        let times = self.settings.borrow().shutdown.clone();
        health.drain();
        tracing::info!(server = self.kind.name(), seconds = times.drain_seconds, "draining");
        tokio::time::sleep(Duration::from_secs(times.drain_seconds.into())).await;
        drop(background);
        ends.closed.cancel();
        // Its end closes the socket: from here on, connections are refused.
        let _ = accepting.await;
        let grace = Duration::from_secs(times.grace_seconds.into());
        let done = tokio::time::timeout(grace, tracker.wait()).await;
        let left = tracker.len();
        ends.cut_off.cancel();
        tracker.wait().await;
        for at_end in self.at_end {
            at_end.await.with_context(|| format!("the {} server did not end in order", self.kind))?;
        }
        if done.is_err() {
            bail!("{left} connections were cut off {} s after the drain", times.grace_seconds);
        }
        tracing::info!(server = self.kind.name(), "ended");
        Ok(())
    }
}

fn spawn(task: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(task))
}

/// Where the server itself reaches an address that it listens on.
fn reachable(address: SocketAddr) -> SocketAddr {
    let host = match address.ip() {
        IpAddr::V4(host) if host.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(host) if host.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        host => host,
    };
    SocketAddr::new(host, address.port())
}

async fn ask(check: SelfCheck, url: String, health: Arc<Health>) {
    let client = match plain_client() {
        Ok(client) => client,
        Err(error) => return health.set_own(Own::Failed(format!("{error:#}"))),
    };
    loop {
        let pause = match check.ask(&client, &url).await {
            Ok(tools) => {
                health.set_own(Own::Answered(tools));
                ASK_EVERY
            }
            Err(error) => {
                health.set_own(Own::Failed(format!("{error:#}")));
                ASK_AGAIN
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn gate(ready: BoxFuture<'static, ()>, health: Arc<Health>) {
    ready.await;
    health.open_gate();
}

/// Puts into force what changes in the settings of every server.
async fn apply(mut changes: watch::Receiver<Arc<Common>>, limits: Limits, guards: Vec<Arc<Guarded>>) {
    while changes.changed().await.is_ok() {
        let config = changes.borrow_and_update().clone();
        limits.set(&config.listen);
        telemetry::set_level(config.log.level);
        for guarded in &guards {
            guarded.set(&config.resilience);
        }
    }
}
