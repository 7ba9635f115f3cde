//! The project's own servers: the file that each reads, and the secrets that it needs.

use crate::plan::{endpoint, workload};
use crate::secret::{FromEnvironment, KEYS_FILE, ORCHESTRATOR_KEY, SecretFile, SecretSource, made_name};
use crate::workload::{ConfigFile, Env, EnvValue, Health, Run, Strategy, Volume, Workload};
use crate::{Embedded, Target, Validated, ValidatedServer};
use mcp_system_crds::config::{
    Anonymous, Backend, Callers, Listen, Log, LogFormat, OrchestratorSettings, Pool, PostgresSettings,
    ServerConfig, ServerKind, Settings, Shutdown, WeaviateVectors, restart_view,
};
use mcp_system_crds::{StorageType, WeaviateIndex, Workload as WorkloadSpec};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Where the keys of callers lie, below the folder of what servers read.
const CALLERS: &str = "callers";
/// The keys that a user keeps, beside those that are made.
const USERS_FILE: &str = "users.yaml";
/// The key of the Secret in which a user keeps them.
const USERS_KEY: &str = "keys.yaml";
/// The variable that names the file with them on a laptop.
const USERS_VARIABLE: &str = "MCP_CALLERS_FILE";

/// The URL of the database in which memories are kept, below the folder of what servers read.
const POSTGRES_URL: &str = "storage/postgres-url";
/// The variable that holds it on a laptop.
const POSTGRES_URL_VARIABLE: &str = "MCP_POSTGRES_URL";

/// Where an own server speaks MCP.
const MCP: &str = "/mcp";
/// Where it tells whether it is well.
const HEALTH: &str = "/health";

/// What a server reads.
struct Reads {
    config: ConfigFile,
    secrets: Vec<SecretFile>,
    shutdown: Shutdown,
}

pub(crate) fn own(system: &Validated, kind: ServerKind, port: u16, spec: &WorkloadSpec) -> Workload {
    let servers = &system.spec.servers;
    let Reads { config, secrets, shutdown } = match kind {
        ServerKind::Memory => memory(system, port),
        ServerKind::Tools => reads(system, port, servers.tools.config.clone()),
        ServerKind::WeaviateDirect => {
            let server = servers.weaviate_direct.clone().unwrap_or_default();
            reads(system, port, server.config)
        }
        ServerKind::Orchestrator => orchestrator(system, port),
    };
    let volume = if kind == ServerKind::Memory { volume(system) } else { None };
    let moves = volume.is_some() && system.spec.storage.type_ == StorageType::Postgres;
    let mut common = workload(system, kind.name(), port, MCP, spec);
    common.env.extend(match kind {
        ServerKind::WeaviateDirect => api_key(system),
        ServerKind::Memory => vectors_key(system),
        _ => None,
    });
    Workload {
        run: Run::Serve { kind, image: system.image.clone() },
        strategy: if volume.is_some() { Strategy::Recreate } else { common.strategy },
        // One mover, and nobody who serves before it is done.
        replicas: if moves { common.replicas.min(1) } else { common.replicas },
        autoscaling: common.autoscaling.filter(|_| !moves),
        health: Health::Http { ready: HEALTH.to_owned(), live: "/health/live".to_owned() },
        self_check: self_check(kind.name(), &common.endpoint),
        config: Some(config),
        secrets,
        volume,
        moves,
        // Time to be told of the end by whatever routes to it, and for the last byte to leave.
        termination_seconds: shutdown.drain_seconds + shutdown.grace_seconds + 5,
        callers: if kind == ServerKind::Orchestrator {
            Vec::new()
        } else {
            vec![ServerKind::Orchestrator.name().to_owned()]
        },
        ..common
    }
}

/// Where one of the own servers, by its name and its MCP endpoint, tells that it has answered itself; none for all others,
/// which are asked at that endpoint.
pub fn self_check(server: &str, endpoint: &str) -> Option<String> {
    server.parse::<ServerKind>().ok()?;
    Some(format!("{}{HEALTH}", endpoint.strip_suffix(MCP)?))
}

/// Where the memory stores what it keeps itself, or where that still lies.
fn volume(system: &Validated) -> Option<Volume> {
    let storage = &system.spec.storage;
    let embedded = &storage.embedded;
    let is_used = storage.type_ == StorageType::Embedded || system.embedded == Embedded::Present;
    is_used.then(|| Volume {
        size: embedded.size.clone(),
        storage_class_name: embedded.storage_class_name.clone(),
        reclaim_policy: embedded.reclaim_policy,
    })
}

fn memory(system: &Validated, port: u16) -> Reads {
    let url = database_url(system);
    let mut settings = system.spec.servers.memory.config.clone();
    settings.postgres = url.as_ref().map(|url| {
        let defaults = PostgresSettings::default();
        // The default of the file is one for embedded storage.
        let is_told = settings.pool != Pool::default();
        PostgresSettings {
            url_file: Some(path(system, url)),
            pool: if is_told { settings.pool.clone() } else { defaults.pool.clone() },
            weaviate: vector_index(system)
                .map(|index| WeaviateVectors { url: index.url.clone(), ..WeaviateVectors::default() }),
            ..defaults
        }
    });
    let mut reads = reads(system, port, settings);
    reads.secrets.extend(url);
    reads
}

/// The Weaviate that indexes vectors in the database's place.
fn vector_index(system: &Validated) -> Option<&WeaviateIndex> {
    let storage = &system.spec.storage;
    storage.postgres.as_ref().filter(|_| storage.type_ == StorageType::Postgres)?.weaviate.as_ref()
}

/// Its API key, in the variable from which the memory takes it.
fn vectors_key(system: &Validated) -> Option<Env> {
    let key = vector_index(system)?.api_key_secret.as_ref()?;
    Some(Env { name: WeaviateVectors::default().api_key_env, value: EnvValue::of_secret(key) })
}

/// The file with the URL of the database in which memories are kept, where that is not embedded storage.
fn database_url(system: &Validated) -> Option<SecretFile> {
    let storage = &system.spec.storage;
    let postgres = storage.postgres.as_ref().filter(|_| storage.type_ == StorageType::Postgres)?;
    Some(SecretFile {
        path: POSTGRES_URL.to_owned(),
        source: SecretSource::Given {
            secret: postgres.url_secret.name.clone(),
            key: postgres.url_secret.key.clone(),
            on_laptop: FromEnvironment::TextOrPath {
                text: POSTGRES_URL_VARIABLE.to_owned(),
                path: format!("{POSTGRES_URL_VARIABLE}_FILE"),
            },
        },
    })
}

/// Weaviate's API key, in the variable from which the server takes it.
fn api_key(system: &Validated) -> Option<Env> {
    let server = system.spec.servers.weaviate_direct.as_ref()?;
    let key = server.api_key_secret.as_ref()?;
    Some(Env { name: server.config.api_key_env.clone(), value: EnvValue::of_secret(key) })
}

fn orchestrator(system: &Validated, port: u16) -> Reads {
    // Pods start further apart than processes, and Ready should mean that every tool is listed.
    let settle_milliseconds = match system.target {
        Target::Cluster { .. } => 10_000,
        Target::Laptop { .. } => OrchestratorSettings::default().settle_milliseconds,
    };
    let key = made(system, ORCHESTRATOR_KEY);
    let backends = backends(system, &path(system, &key));
    let has_key = backends.iter().any(|backend| backend.key_file.is_some());
    let gateway = system.spec.servers.orchestrator.config.clone();
    let mut reads = reads(system, port, OrchestratorSettings { gateway, settle_milliseconds, backends });
    reads.secrets.extend(has_key.then_some(key));
    reads
}

/// The servers behind the orchestrator, sorted by name. Only this system's own know its key.
fn backends(system: &Validated, key_file: &Path) -> Vec<Backend> {
    let mut backends: Vec<Backend> = system
        .servers
        .iter()
        .filter_map(|server| match server {
            ValidatedServer::Own { kind: ServerKind::Orchestrator, .. } => None,
            ValidatedServer::Own { kind, port, .. } => {
                let url = endpoint(system, kind.name(), *port, MCP);
                Some(Backend {
                    name: kind.name().to_owned(),
                    health_url: self_check(kind.name(), &url),
                    url,
                    key_file: Some(key_file.to_owned()),
                })
            }
            ValidatedServer::Extra { server, port } => Some(Backend {
                name: server.name.clone(),
                url: endpoint(system, &server.name, *port, &server.path),
                health_url: server
                    .health_path
                    .as_ref()
                    .map(|path| endpoint(system, &server.name, *port, path)),
                key_file: None,
            }),
            ValidatedServer::Remote { name, url } => {
                Some(Backend { name: name.clone(), url: url.clone(), health_url: None, key_file: None })
            }
        })
        .collect();
    backends.sort_by(|a, b| a.name.cmp(&b.name));
    backends
}

/// What every server reads, with its own settings.
fn reads<S: Settings>(system: &Validated, port: u16, settings: S) -> Reads {
    let gateway = &system.spec.servers.orchestrator.config;
    let (mut allowed_hosts, allowed_origins) = match S::KIND {
        ServerKind::Orchestrator => (gateway.allowed_hosts.clone(), gateway.allowed_origins.clone()),
        ServerKind::Memory | ServerKind::Tools | ServerKind::WeaviateDirect => (Vec::new(), Vec::new()),
    };
    allowed_hosts.extend(system.target.hosts(&system.name, &system.namespace, S::KIND.name()));
    let (format, shutdown) = match system.target {
        Target::Cluster { .. } => (LogFormat::Json, Shutdown::default()),
        // Nothing routes to a process on a laptop that would have to be told first.
        Target::Laptop { .. } => (LogFormat::Human, Shutdown { drain_seconds: 0, grace_seconds: 10 }),
    };
    let keys = keys(system, S::KIND);
    let config = ServerConfig {
        listen: Listen { port, allowed_hosts, allowed_origins, ..Listen::default() },
        log: Log { level: system.spec.log_level, format },
        shutdown: shutdown.clone(),
        resilience: system.spec.resilience.clone(),
        profiling: system.spec.profiling.clone(),
        callers: Callers {
            keys_file: keys.as_ref().map(|keys| path(system, keys)),
            anonymous: match system.target {
                Target::Cluster { .. } => Anonymous::Network,
                Target::Laptop { .. } => Anonymous::Loopback,
            },
        },
        settings,
    };
    Reads {
        config: ConfigFile { text: config.to_text(), restart_hash: hash(&restart_view(&config).to_string()) },
        secrets: keys.into_iter().collect(),
        shutdown,
    }
}

/// The file with the keys that a server takes: behind the orchestrator that of the orchestrator alone, at the
/// system's endpoint those that the user keeps, if there are any.
fn keys(system: &Validated, kind: ServerKind) -> Option<SecretFile> {
    let is_orchestrator = |server: &ValidatedServer| {
        matches!(server, ValidatedServer::Own { kind: ServerKind::Orchestrator, .. })
    };
    if kind != ServerKind::Orchestrator && system.servers.iter().any(is_orchestrator) {
        return Some(made(system, KEYS_FILE));
    }
    let callers = system.spec.callers.as_ref()?;
    Some(SecretFile {
        path: format!("{CALLERS}/{USERS_FILE}"),
        source: SecretSource::Given {
            secret: callers.secret_ref.name.clone(),
            key: USERS_KEY.to_owned(),
            on_laptop: FromEnvironment::Path(USERS_VARIABLE.to_owned()),
        },
    })
}

/// One of the files that are made for the system.
fn made(system: &Validated, key: &str) -> SecretFile {
    SecretFile {
        path: format!("{CALLERS}/{key}"),
        source: SecretSource::Made { secret: made_name(&system.name), key: key.to_owned() },
    }
}

/// Where a server finds a secret.
fn path(system: &Validated, secret: &SecretFile) -> PathBuf {
    system.target.folder().join(&secret.path)
}

/// The first 16 hexadecimal digits of SHA-256: enough to tell two configurations apart.
fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(8).fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
