//! The gateway as an MCP server: one list of all tools, and each call to the server that has the tool.

use crate::backend::{Backend, Listed, Shown, Trouble};
use crate::connection::{Extras, implementation};
use crate::exchange::Forward;
use crate::measures::Measures;
use crate::{backends, headers, names};
use mcp_system_config::{OrchestratorSettings, ServerConfig};
use mcp_system_kit::{Caller, Dependencies, Metrics, Reloaded, http_client};
use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, CallToolResult, ClientRequest, ContentBlock,
    ErrorCode, ErrorData, GetMeta, ListToolsResult, PaginatedRequestParams, Request, ServerCapabilities,
    Tool,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// How long a first list waits for servers that start as well.
const FIRST_LIST: Duration = Duration::from_secs(1);
/// How long clients may use a list that some server is still missing from.
const INCOMPLETE_TTL: Duration = Duration::from_secs(1);

/// All tools under the names that clients see.
#[derive(Debug, Default)]
struct Catalog {
    tools: BTreeMap<String, Entry>,
    private: bool,
    complete: bool,
    /// The shortest for which a server lets its list be used.
    ttl: Option<Duration>,
}

#[derive(Debug)]
struct Entry {
    /// As clients see it.
    shown: Tool,
    backend: Arc<Backend>,
    /// The name that the server itself gives it.
    own_name: String,
}

/// The handler; clones share everything.
#[derive(Clone, Debug)]
pub struct Gateway(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: reqwest::Client,
    metrics: Metrics,
    measures: Measures,
    settings: Reloaded<OrchestratorSettings>,
    backends: RwLock<Arc<Vec<Arc<Backend>>>>,
    catalog: RwLock<Arc<Catalog>>,
    /// The servers as health shows them.
    dependencies: Dependencies,
    /// True once every server has answered, or has been waited for long enough.
    settled: watch::Sender<bool>,
}

impl Gateway {
    /// A gateway to the configured servers. Nothing is sent before [`Self::start`].
    ///
    /// # Errors
    /// Says which settings cannot be used, why there is no HTTP client, or that the metrics already hold a
    /// gateway's.
    pub fn new(settings: Reloaded<OrchestratorSettings>, metrics: &Metrics) -> anyhow::Result<Self> {
        let config = settings.current();
        backends::check(&config)?;
        settings.check(backends::check);
        let gateway = Self(Arc::new(Inner {
            client: http_client()?,
            metrics: metrics.clone(),
            measures: Measures::new(metrics)?,
            settled: watch::Sender::new(config.settings.backends.is_empty()),
            settings,
            backends: RwLock::default(),
            catalog: RwLock::default(),
            dependencies: Dependencies::default(),
        }));
        gateway.take_over(&config);
        Ok(gateway)
    }

    /// Begins to look at the servers, each by itself, for as long as the handles live.
    pub fn start(&self) -> Vec<AbortOnDropHandle<()>> {
        let waiting = self.clone();
        let settle = async move {
            let milliseconds = waiting.0.settings.current().settings.settle_milliseconds;
            tokio::time::sleep(Duration::from_millis(milliseconds.into())).await;
            waiting.0.settled.send_replace(true);
        };
        [tokio::spawn(settle), tokio::spawn(self.clone().watch())].map(AbortOnDropHandle::new).into()
    }

    /// Looks at each server, and follows the settings in which ones there are.
    async fn watch(self) {
        let mut changes = self.0.settings.subscribe();
        let mut looking: Vec<(Arc<Backend>, AbortOnDropHandle<()>)> = Vec::new();
        loop {
            let backends = self.backends();
            let has = |looked: &Arc<Backend>| backends.iter().any(|backend| Arc::ptr_eq(backend, looked));
            looking.retain(|(looked, _)| has(looked));
            for backend in backends.iter() {
                if !looking.iter().any(|(looked, _)| Arc::ptr_eq(backend, looked)) {
                    let task = tokio::spawn(self.clone().look(backend.clone()));
                    looking.push((backend.clone(), AbortOnDropHandle::new(task)));
                }
            }
            if changes.changed().await.is_err() {
                return;
            }
            let config = changes.borrow_and_update().clone();
            for gone in self.take_over(&config) {
                let gateway = self.clone();
                tokio::spawn(async move {
                    gone.leave_when_idle().await;
                    // A look or a call that was under way may have shown it once more.
                    gateway.forget(&gone);
                });
            }
        }
    }

    async fn look(self, backend: Arc<Backend>) {
        loop {
            if backend.look().await {
                self.rebuild();
            }
            backend.pause().await;
        }
    }

    /// Makes the servers those of the settings, and returns those that are not called any more.
    fn take_over(&self, config: &ServerConfig<OrchestratorSettings>) -> Vec<Arc<Backend>> {
        let Inner { client, metrics, measures, settings, .. } = &*self.0;
        let change = backends::change(&self.backends(), &config.settings.backends, |backend, before| {
            Backend::new(client.clone(), backend, settings.clone(), metrics, measures.clone(), before)
        });
        for added in &change.added {
            let shown = Shown { backend: added.clone(), settled: self.0.settled.subscribe() };
            self.0.dependencies.insert(added.name(), shown);
        }
        change.backends.iter().for_each(|backend| backend.limit(&config.resilience));
        *self.0.backends.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(change.backends);
        change.gone.iter().for_each(|gone| self.forget(gone));
        if !(change.added.is_empty() && change.gone.is_empty()) {
            self.rebuild();
        }
        change.gone
    }

    /// Shows this server no more, unless another one has taken its name.
    fn forget(&self, gone: &Backend) {
        if !self.backends().iter().any(|backend| backend.name() == gone.name()) {
            self.0.dependencies.remove(gone.name());
            self.0.measures.remove(gone.name());
            self.0.metrics.forget_dependency(gone.name());
        }
    }

    fn backends(&self) -> Arc<Vec<Arc<Backend>>> {
        self.0.backends.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Resolves once every server has answered, or has been waited for long enough.
    pub async fn settled(&self) {
        let mut settled = self.0.settled.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        let _ = settled.wait_for(|settled| *settled).await;
    }

    /// The servers as health shows them.
    pub(crate) fn dependencies(&self) -> Dependencies {
        self.0.dependencies.clone()
    }

    /// Says goodbye to all servers that keep something for this gateway.
    pub(crate) async fn leave(&self) {
        futures::future::join_all(self.backends().iter().map(|backend| backend.leave())).await;
    }

    /// Puts the list together anew from what the servers last said.
    fn rebuild(&self) {
        // Under the lock from the first look to the last, so that an older list never replaces a newer one.
        let mut catalog = self.0.catalog.write().unwrap_or_else(PoisonError::into_inner);
        *catalog = Arc::new(merge(&self.backends()));
        if catalog.complete {
            self.0.settled.send_replace(true);
        }
    }

    /// The list, after a short wait at the very start for servers that start as well.
    async fn catalog(&self) -> Arc<Catalog> {
        if !*self.0.settled.borrow() {
            let _ = tokio::time::timeout(FIRST_LIST, self.settled()).await;
        }
        self.current()
    }

    fn current(&self) -> Arc<Catalog> {
        self.0.catalog.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn call(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let mut catalog = self.current();
        if !catalog.tools.contains_key(&*request.name) {
            catalog = self.catalog().await;
        }
        let Some(entry) = catalog.tools.get(&*request.name) else {
            return Err(unknown(&request.name, &catalog));
        };
        let forward =
            context.meta.get_progress_token().map(|token| Forward { peer: context.peer.clone(), token });
        let parts = context.extensions.get::<http::request::Parts>();
        let mut handed_on = parts.map(|parts| headers::parameters(&parts.headers)).unwrap_or_default();
        handed_on.extend(headers::for_caller(&Caller::of(&context.extensions)));
        let extras = Extras { forward, headers: handed_on, schema: Some(&entry.shown.input_schema) };
        let mut call = request;
        call.name = entry.own_name.clone().into();
        call.meta = None;
        let mut request = ClientRequest::CallToolRequest(Request::new(call));
        *request.get_meta_mut() = context.meta;
        match entry.backend.call(request, &extras).await {
            Ok(response) => Ok(response),
            Err(Trouble::Refused(error)) => Err(error),
            // As a tool's error it reaches the model and the person, which a protocol error does not.
            Err(Trouble::Failed(message)) => {
                Ok(CallToolResult::error(vec![ContentBlock::text(message)]).into())
            }
        }
    }
}

impl ServerHandler for Gateway {
    fn get_info(&self) -> rmcp::model::ServerConfig {
        rmcp::model::ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(implementation())
            .with_instructions(instructions(&self.backends()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.current().tools.get(name).map(|entry| entry.shown.clone())
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let catalog = self.catalog().await;
        let tools = catalog.tools.values().map(|entry| entry.shown.clone()).collect();
        let mut result = ListToolsResult::with_all_items(tools);
        if context.protocol_version().is_some_and(|version| !version.has_initialize()) {
            let full = self.0.settings.current().settings.gateway.list_ttl_seconds.max(1);
            let full = Duration::from_secs(full.into());
            let ttl = if catalog.complete { catalog.ttl.unwrap_or(full).min(full) } else { INCOMPLETE_TTL };
            result.ttl_ms = Some(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
            result.cache_scope = Some(if catalog.private { CacheScope::Private } else { CacheScope::Public });
        }
        Ok(result)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.call(request, context).await
    }
}

fn merge(backends: &[Arc<Backend>]) -> Catalog {
    let listed: Vec<Option<Listed>> = backends.iter().map(|backend| backend.listed()).collect();
    let known: Vec<Listed> = listed.iter().map(|listed| listed.clone().unwrap_or_default()).collect();
    let servers: Vec<(&str, Vec<&str>)> = backends
        .iter()
        .zip(&known)
        .map(|(backend, listed)| (backend.name(), listed.tools.iter().map(|tool| &*tool.name).collect()))
        .collect();
    let tools = names::assign(&servers).into_iter().map(|(name, place)| {
        let tool = &known[place.server].tools[place.tool];
        let mut shown = tool.clone();
        shown.name = name.clone().into();
        let entry = Entry {
            shown,
            backend: backends[place.server].clone(),
            own_name: tool.name.clone().into_owned(),
        };
        (name, entry)
    });
    Catalog {
        tools: tools.collect(),
        private: known.iter().any(|listed| listed.private),
        complete: listed.iter().all(Option::is_some),
        ttl: known.iter().filter_map(|listed| listed.ttl).min(),
    }
}

fn unknown(name: &str, catalog: &Catalog) -> ErrorData {
    let near = names::nearest(name, catalog.tools.keys().map(String::as_str));
    let hint = if near.is_empty() {
        "tools/list tells which there are".to_owned()
    } else {
        format!("did you mean {}?", near.join(", "))
    };
    ErrorData::new(ErrorCode::INVALID_PARAMS, format!("there is no tool called {name:?}; {hint}"), None)
}

/// What clients are told beforehand.
fn instructions(backends: &[Arc<Backend>]) -> String {
    let names: Vec<&str> = backends.iter().map(|backend| backend.name()).collect();
    if names.is_empty() {
        return "One endpoint for the tools of several MCP servers; none is configured.".to_owned();
    }
    format!(
        "One endpoint for the tools of these MCP servers: {}. A tool name that several of them use is prefixed with \
         the server's name.",
        names.join(", ")
    )
}
