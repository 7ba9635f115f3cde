//! What outlives one registry: caches, connections, measures. Registries are made of it, at the start and
//! whenever settings change.

#[cfg(test)]
mod tests;

use crate::builtin;
use crate::cache::Store;
use crate::databases::Databases;
use crate::declared;
use crate::files::Files;
use crate::guards::{self, Guards};
use crate::outbound::Clients;
use crate::registry::Registry;
use anyhow::Context;
use futures::future::join_all;
use mcp_system_config::{Resilience, ToolsSettings};
use mcp_system_kit::breaker::State;
use mcp_system_kit::guarded::Guarded;
use mcp_system_kit::{Dependencies, Dependency, Metrics};
use mcp_system_user_tools::{Action, Compiled, Finding, Texts, compile};
use prometheus::IntGaugeVec;
use serde_json::{Map, Value};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How a variable of the environment is looked up.
pub(crate) type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Shared by all registries of a server; clones share it.
#[derive(Clone)]
pub(crate) struct Stock {
    pub(crate) store: Arc<Store>,
    pub(crate) measures: builtin::Measures,
    pub(crate) clients: Clients,
    pub(crate) environment: Environment,
    pub(crate) guards: Guards,
    user_tools: IntGaugeVec,
    held: Arc<Mutex<Held>>,
}

/// What the present registry stands on.
#[derive(Clone, Default)]
struct Held {
    databases: Arc<Databases>,
    files: Option<Arc<Files>>,
    documents: Arc<Texts>,
    declared: usize,
    findings: Vec<Finding>,
    /// Servers elsewhere that the settings name: their guards are all that is known of them.
    elsewhere: Vec<&'static str>,
    /// The tools of the settings that send requests.
    senders: Vec<String>,
}

impl Stock {
    pub(crate) fn new(settings: &ToolsSettings, metrics: &Metrics) -> anyhow::Result<Self> {
        let environment: Environment = Arc::new(|name| std::env::var(name).ok());
        Self::with_environment(settings, metrics, environment)
    }

    pub(crate) fn with_environment(
        settings: &ToolsSettings,
        metrics: &Metrics,
        environment: Environment,
    ) -> anyhow::Result<Self> {
        let user_tools = metrics
            .gauge("user_tools", "Tools that the settings declare, by whether they can be called", &["state"])
            .context("the gauge of user tools")?;
        let guards = Guards::new(Resilience::default(), metrics);
        Ok(Self {
            store: Arc::new(Store::new(&settings.cache, &*environment, &guards)?),
            measures: builtin::Measures::new(metrics)?,
            clients: Clients::default(),
            environment,
            guards,
            user_tools,
            held: Arc::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All tools that these settings give. What is wrong with a setting leaves out the tools that need it, and is
    /// told in log, health and metrics.
    pub(crate) fn registry(&self, settings: &ToolsSettings) -> anyhow::Result<Registry> {
        let before = self.lock().clone();
        let read = |path: &str| Some(std::fs::read_to_string(path).map_err(|error| error.to_string()));
        let Compiled { tools, databases: locations, documents, web_search, mut findings, .. } =
            compile(settings, &read, &before.documents);
        self.store.resize(settings.cache.max_entries);
        let mut databases = Databases::default();
        for database in &settings.databases {
            let Some(location) = locations.get(&database.name) else { continue };
            if let Err(message) =
                databases.add(database, location, &before.databases, &self.guards, &*self.environment)
            {
                findings.push(Finding { path: format!("databases[{}]", database.name), tool: None, message });
            }
        }
        let databases = Arc::new(databases);
        let files = Files::open(&settings.file_search, before.files.as_ref());
        let mut registry = Registry::default();
        builtin::add(&mut registry, self, settings, &databases, files.as_ref(), web_search)?;
        let declared = tools.len();
        let senders = tools.iter().filter(|tool| !matches!(tool.action, Action::Sql { .. }));
        let mut senders: Vec<String> = senders.map(|tool| tool.name.clone()).collect();
        findings.extend(declared::add(&mut registry, self, tools, &databases));
        let refused = findings.iter().filter(|finding| finding.path.starts_with("userTools")).count();
        for finding in &findings {
            tracing::error!(setting = finding.path, tool = finding.tool, "{}", finding.message);
        }
        let set = |state: &str, count: usize| {
            self.user_tools.with_label_values(&[state]).set(i64::try_from(count).unwrap_or(i64::MAX));
        };
        set("refused", refused);
        set("offered", registry.entries().count().saturating_sub(builtin::COUNT));
        let elsewhere = [
            (guards::AI, settings.ai.base_url.is_some()),
            (guards::WEB_SEARCH, settings.web_search.is_some()),
        ];
        let elsewhere: Vec<_> =
            elsewhere.into_iter().filter_map(|(name, named)| named.then_some(name)).collect();
        senders.retain(|name| registry.get(name).is_some());
        let of_databases = databases.iter().map(|opened| guards::database(&opened.settings.name));
        let of_tools = senders.iter().map(|name| guards::user_tool(name));
        let kept: Vec<String> = of_databases.chain(of_tools).collect();
        self.guards.keep(|name| {
            name == guards::CACHE || elsewhere.contains(&name) || kept.iter().any(|kept| kept == name)
        });
        *self.lock() =
            Held { databases, files, documents: Arc::new(documents), declared, findings, elsewhere, senders };
        Ok(registry)
    }

    /// Has `/health` show what there is now.
    pub(crate) fn show(&self, dependencies: &Dependencies) {
        let parts = self.dependencies();
        for name in
            [guards::AI, guards::CACHE, "databases", "settings", guards::USER_TOOLS, guards::WEB_SEARCH]
        {
            if parts.iter().all(|(part, _)| *part != name) {
                dependencies.remove(name);
            }
        }
        for (name, part) in parts {
            dependencies.insert(name, part);
        }
    }

    /// What `/health` shows of it.
    pub(crate) fn dependencies(&self) -> Vec<(&'static str, Part)> {
        let held = self.lock().clone();
        let part = |kind| Part { stock: self.clone(), kind };
        let mut parts = Vec::new();
        if !held.databases.is_empty() {
            parts.push(("databases", part(Kind::Databases)));
        }
        if matches!(*self.store, Store::Redis(_)) {
            parts.push((guards::CACHE, part(Kind::Cache)));
        }
        parts.extend(held.elsewhere.iter().map(|name| (*name, part(Kind::Elsewhere(self.guards.of(name))))));
        if !held.senders.is_empty() {
            let guard = |name: &String| (name.clone(), self.guards.of(&guards::user_tool(name)));
            parts.push((guards::USER_TOOLS, part(Kind::UserTools(held.senders.iter().map(guard).collect()))));
        }
        if held.declared > 0 || !held.findings.is_empty() {
            parts.push(("settings", part(Kind::Settings)));
        }
        parts
    }
}

/// A part of a server's health.
pub(crate) struct Part {
    stock: Stock,
    kind: Kind,
}

enum Kind {
    Cache,
    Databases,
    /// It may cost something to ask, so only what came of calls tells how it is.
    Elsewhere(Arc<Guarded>),
    /// The same, by the name of the tool that sends requests there.
    UserTools(Vec<(String, Arc<Guarded>)>),
    Settings,
}

/// How long each database may take to answer: less than the kit gives all of them together, so that the one which is
/// silent is told by its name.
const PATIENCE: Duration = Duration::from_millis(1500);

fn silent(database: &str) -> String {
    format!("the database {database}: it did not answer within {} ms", PATIENCE.as_millis())
}

/// What is known of a server elsewhere.
fn left_alone(guarded: &Guarded) -> Option<&'static str> {
    let open = guarded.state() == State::Open;
    open.then_some("it failed several times in a row and is left alone for a while")
}

impl Dependency for Part {
    async fn check(&self) -> Result<(), String> {
        let errors = match &self.kind {
            Kind::Elsewhere(guarded) => left_alone(guarded).map(str::to_owned).into_iter().collect(),
            Kind::UserTools(guards) => {
                let told = |(name, guarded): &(String, Arc<Guarded>)| {
                    left_alone(guarded).map(|what| format!("{name}: {what}"))
                };
                guards.iter().filter_map(told).collect()
            }
            Kind::Cache => return self.stock.store.check().await,
            Kind::Databases => {
                let databases = self.stock.lock().databases.clone();
                let checks = databases.iter().map(|database| async {
                    let checked = tokio::time::timeout(PATIENCE, database.check()).await;
                    checked.unwrap_or_else(|_| Err(silent(&database.settings.name))).err()
                });
                join_all(checks).await.into_iter().flatten().collect::<Vec<_>>()
            }
            Kind::Settings => self.stock.lock().findings.iter().map(ToString::to_string).collect(),
        };
        if errors.is_empty() { Ok(()) } else { Err(errors.join("; ")) }
    }

    fn circuit_breaker(&self) -> Option<State> {
        match &self.kind {
            Kind::Cache => self.stock.store.circuit_breaker(),
            // The worst of them all.
            Kind::Databases => {
                let databases = self.stock.lock().databases.clone();
                databases.iter().filter_map(|database| database.circuit_breaker()).max()
            }
            Kind::Elsewhere(guarded) => Some(guarded.state()),
            Kind::UserTools(guards) => guards.iter().map(|(_, guarded)| guarded.state()).max(),
            Kind::Settings => None,
        }
    }

    fn details(&self) -> Map<String, Value> {
        let mut details = Map::new();
        match &self.kind {
            Kind::Settings => {
                let held = self.stock.lock();
                details.insert("declared_tools".into(), held.declared.into());
                if !held.findings.is_empty() {
                    // One by one for whoever keeps this server: the operator puts them into its conditions.
                    let findings = held.findings.iter().map(ToString::to_string);
                    details.insert("findings".into(), findings.collect::<Vec<_>>().into());
                }
            }
            Kind::Databases => {
                let databases = self.stock.lock().databases.clone();
                let states: Map<_, _> = databases
                    .iter()
                    .filter_map(|opened| {
                        Some((opened.settings.name.clone(), opened.circuit_breaker()?.name().into()))
                    })
                    .collect();
                if !states.is_empty() {
                    details.insert("circuit_breakers".into(), states.into());
                }
            }
            Kind::UserTools(guards) => {
                // There may be hundreds: those that work need not be told.
                let others = guards.iter().filter(|(_, guarded)| guarded.state() != State::Closed);
                let states: Map<_, _> =
                    others.map(|(name, guarded)| (name.clone(), guarded.state().name().into())).collect();
                if !states.is_empty() {
                    details.insert("circuit_breakers".into(), states.into());
                }
            }
            Kind::Cache | Kind::Elsewhere(_) => {}
        }
        details
    }
}
