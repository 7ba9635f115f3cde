//! A validated system into the servers that are to run.

use crate::validate::extra_image;
use crate::workload::{ConfigFile, Env, EnvValue, Health, Run, Scheduling, Strategy, Volume, Workload};
use crate::{Target, Validated, ValidatedServer};
use mcp_system_crds::config::{
    Backend, Listen, Log, LogFormat, OrchestratorSettings, ServerConfig, ServerKind, Settings, Shutdown,
};
use mcp_system_crds::{EnvVar, ExtraServer, Workload as WorkloadSpec};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Everything that is to run, in start order.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The system's name.
    pub system: String,
    /// Its namespace.
    pub namespace: String,
    /// Whether everything is to stop.
    pub suspended: bool,
    /// Where clients connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The servers that run here.
    pub workloads: Vec<Workload>,
    /// Servers that run elsewhere and are called from here.
    pub remotes: Vec<Remote>,
    /// What the file names and this place does not run.
    pub left_out: Vec<LeftOut>,
    /// How Prometheus finds the servers; none where it is not to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitoring: Option<Monitoring>,
}

/// A server that runs elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remote {
    /// Its name in the system.
    pub name: String,
    /// Its MCP endpoint.
    pub url: String,
}

/// A server that this place does not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Its name in the system.
    pub name: String,
    /// Why, and what to do.
    pub reason: String,
}

impl LeftOut {
    pub(crate) fn new(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { name: name.into(), reason: reason.into() }
    }
}

/// How Prometheus finds the servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Monitoring {
    /// The time from one scrape to the next.
    pub interval: String,
    /// Labels of the ServiceMonitors.
    pub labels: BTreeMap<String, String>,
}

/// Plans a system. The same input gives the same plan, byte for byte.
pub fn plan(system: &Validated) -> Plan {
    let workloads: Vec<Workload> = system
        .servers
        .iter()
        .filter_map(|server| match server {
            ValidatedServer::Own { kind, port, workload } => Some(own(system, *kind, *port, workload)),
            ValidatedServer::Extra { server, port } => Some(extra(system, server, *port)),
            ValidatedServer::Remote { .. } => None,
        })
        .collect();
    let remotes = system
        .servers
        .iter()
        .filter_map(|server| match server {
            ValidatedServer::Remote { name, url } => Some(Remote { name: name.clone(), url: url.clone() }),
            _ => None,
        })
        .collect();
    let monitoring = &system.spec.monitoring;
    Plan {
        system: system.name.clone(),
        namespace: system.namespace.clone(),
        suspended: system.spec.suspend,
        url: workloads
            .iter()
            .find(|workload| workload.kind() == Some(ServerKind::Orchestrator))
            .map(|orchestrator| orchestrator.endpoint.clone()),
        remotes,
        left_out: system.left_out.clone(),
        monitoring: monitoring
            .enabled
            .then(|| Monitoring { interval: monitoring.interval.clone(), labels: monitoring.labels.clone() }),
        workloads,
    }
}

fn own(system: &Validated, kind: ServerKind, port: u16, spec: &WorkloadSpec) -> Workload {
    let servers = &system.spec.servers;
    let (text, shutdown) = match kind {
        ServerKind::Memory => config_text(system, port, Vec::new(), servers.memory.config.clone()),
        ServerKind::Tools => config_text(system, port, Vec::new(), servers.tools.config.clone()),
        ServerKind::Orchestrator => {
            let gateway = servers.orchestrator.config.clone();
            let hosts = gateway.allowed_hosts.clone();
            // Pods start further apart than processes, and Ready should mean that every tool is listed.
            let settle_milliseconds = match system.target {
                Target::Cluster { .. } => 10_000,
                Target::Laptop { .. } => OrchestratorSettings::default().settle_milliseconds,
            };
            let settings = OrchestratorSettings { gateway, settle_milliseconds, backends: backends(system) };
            config_text(system, port, hosts, settings)
        }
    };
    let is_memory = kind == ServerKind::Memory;
    Workload {
        run: Run::Serve { kind, image: system.image.clone() },
        strategy: if is_memory { Strategy::Recreate } else { Strategy::RollingUpdate },
        health: Health::Http { ready: "/health".to_owned(), live: "/health/live".to_owned() },
        config: Some(ConfigFile { restart_hash: hash(&text), text }),
        volume: is_memory.then(|| {
            let embedded = &system.spec.storage.embedded;
            Volume {
                size: embedded.size.clone(),
                storage_class_name: embedded.storage_class_name.clone(),
                reclaim_policy: embedded.reclaim_policy,
            }
        }),
        // Time to be told of the end by whatever routes to it, and for the last byte to leave.
        termination_seconds: shutdown.drain_seconds + shutdown.grace_seconds + 5,
        callers: if kind == ServerKind::Orchestrator {
            Vec::new()
        } else {
            vec![ServerKind::Orchestrator.name().to_owned()]
        },
        ..workload(system, kind.name(), port, "/mcp", spec)
    }
}

fn extra(system: &Validated, server: &ExtraServer, port: u16) -> Workload {
    let run = match (&server.image, &server.process) {
        (Some(image), _) => Run::Image {
            image: extra_image(image, server.image_pull_policy, &system.spec),
            args: server.args.clone(),
        },
        (None, process) => {
            let process = process.clone().unwrap_or_default();
            Run::Process {
                command: process.command,
                args: server.args.clone(),
                working_directory: process.working_directory,
            }
        }
    };
    let mut workload = Workload {
        run,
        health: match &server.health_path {
            Some(path) => Health::Http { ready: path.clone(), live: path.clone() },
            None => Health::Port,
        },
        callers: vec![ServerKind::Orchestrator.name().to_owned()],
        ..workload(system, &server.name, port, &server.path, &server.workload)
    };
    if !workload.env.iter().any(|env| env.name == "PORT") {
        workload.env.insert(0, Env { name: "PORT".to_owned(), value: EnvValue::Literal(port.to_string()) });
    }
    workload
}

/// What own and extra servers share.
fn workload(system: &Validated, name: &str, port: u16, path: &str, spec: &WorkloadSpec) -> Workload {
    let replicas = if system.spec.suspend { 0 } else { u32::try_from(spec.replicas).unwrap_or(1) };
    Workload {
        name: name.to_owned(),
        run: Run::Process { command: String::new(), args: Vec::new(), working_directory: None },
        replicas: match system.target {
            Target::Cluster { .. } => replicas,
            Target::Laptop { .. } => replicas.min(1),
        },
        strategy: Strategy::RollingUpdate,
        port,
        endpoint: endpoint(system, name, port, path),
        health: Health::Port,
        config: None,
        env: spec.env.iter().map(env).collect(),
        resources: spec.resources.clone(),
        probes: spec.probes.clone(),
        volume: None,
        labels: spec.labels.clone(),
        annotations: spec.annotations.clone(),
        service: spec.service.clone(),
        scheduling: Scheduling {
            node_selector: spec.node_selector.clone(),
            tolerations: spec.tolerations.clone(),
            affinity: spec.affinity.clone(),
            topology_spread_constraints: spec.topology_spread_constraints.clone(),
            priority_class_name: spec.priority_class_name.clone(),
        },
        termination_seconds: 30,
        callers: Vec::new(),
    }
}

fn endpoint(system: &Validated, server: &str, port: u16, path: &str) -> String {
    format!("{}{path}", system.target.origin(&system.name, &system.namespace, server, port))
}

fn env(variable: &EnvVar) -> Env {
    let value = match (&variable.value, &variable.value_from) {
        (_, Some(source)) => EnvValue::Secret {
            name: source.secret_key_ref.name.clone(),
            key: source.secret_key_ref.key.clone(),
            optional: source.secret_key_ref.optional.unwrap_or(false),
        },
        (value, None) => EnvValue::Literal(value.clone().unwrap_or_default()),
    };
    Env { name: variable.name.clone(), value }
}

/// The servers behind the orchestrator, sorted by name.
fn backends(system: &Validated) -> Vec<Backend> {
    let mut backends: Vec<Backend> = system
        .servers
        .iter()
        .filter_map(|server| match server {
            ValidatedServer::Own { kind: ServerKind::Orchestrator, .. } => None,
            ValidatedServer::Own { kind, port, .. } => Some(Backend {
                name: kind.name().to_owned(),
                url: endpoint(system, kind.name(), *port, "/mcp"),
                health_url: Some(endpoint(system, kind.name(), *port, "/health")),
            }),
            ValidatedServer::Extra { server, port } => Some(Backend {
                name: server.name.clone(),
                url: endpoint(system, &server.name, *port, &server.path),
                health_url: server
                    .health_path
                    .as_ref()
                    .map(|path| endpoint(system, &server.name, *port, path)),
            }),
            ValidatedServer::Remote { name, url } => {
                Some(Backend { name: name.clone(), url: url.clone(), health_url: None })
            }
        })
        .collect();
    backends.sort_by(|a, b| a.name.cmp(&b.name));
    backends
}

fn config_text<S: Settings>(
    system: &Validated,
    port: u16,
    mut allowed_hosts: Vec<String>,
    settings: S,
) -> (String, Shutdown) {
    allowed_hosts.extend(system.target.hosts(&system.name, &system.namespace, S::KIND.name()));
    let (format, shutdown) = match system.target {
        Target::Cluster { .. } => (LogFormat::Json, Shutdown::default()),
        // Nothing routes to a process on a laptop that would have to be told first.
        Target::Laptop { .. } => (LogFormat::Human, Shutdown { drain_seconds: 0, grace_seconds: 10 }),
    };
    let allowed_origins = match S::KIND {
        ServerKind::Orchestrator => system.spec.servers.orchestrator.config.allowed_origins.clone(),
        ServerKind::Memory | ServerKind::Tools => Vec::new(),
    };
    let config = ServerConfig {
        listen: Listen { port, allowed_hosts, allowed_origins, ..Listen::default() },
        log: Log { level: system.spec.log_level, format },
        shutdown: shutdown.clone(),
        resilience: system.spec.resilience.clone(),
        settings,
    };
    (config.to_text(), shutdown)
}

/// The first 16 hexadecimal digits of SHA-256: enough to tell two configurations apart.
fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(8).fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
