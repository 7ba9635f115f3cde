//! A raw resource into a value that can be planned: what cannot work is found here, so that nothing
//! behind this has to ask again.

use crate::{Embedded, Finding, Image, LeftOut, Observed, Target};
use mcp_system_crds::config::{MOVED_FILE, ServerKind};
use mcp_system_crds::{
    EnvVar, ExtraServer, McpSystem, McpSystemSpec, PullPolicy, Reason, StorageType, Workload as WorkloadSpec,
};

/// A system that can be planned.
#[derive(Clone, Debug, PartialEq)]
pub struct Validated {
    /// The system's name.
    pub name: String,
    /// Its namespace; `default` where none is told.
    pub namespace: String,
    /// Where it is to run.
    pub target: Target,
    /// The spec, with every default filled in.
    pub(crate) spec: Box<McpSystemSpec>,
    /// What is there of embedded storage.
    pub(crate) embedded: Embedded,
    /// The servers that run, in start order.
    pub servers: Vec<ValidatedServer>,
    /// Those that this place leaves out.
    pub left_out: Vec<LeftOut>,
    /// What of the file cannot work, though the rest does.
    pub shortfalls: Vec<Finding>,
    /// The image of the project's own servers; none on a laptop.
    pub image: Option<Image>,
}

/// One server that runs, or that is reached elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub enum ValidatedServer {
    /// One of the project's own.
    Own {
        /// Which.
        kind: ServerKind,
        /// Its port.
        port: u16,
        /// How it runs.
        workload: WorkloadSpec,
    },
    /// Somebody else's, which runs here.
    Extra {
        /// What the spec says of it.
        server: ExtraServer,
        /// Its port.
        port: u16,
    },
    /// Somebody else's, which runs elsewhere.
    Remote {
        /// Its name.
        name: String,
        /// Its MCP endpoint.
        url: String,
    },
}

/// Merges the spec with its defaults, the facts of the place, and what is there already.
///
/// # Errors
/// Everything that keeps this system from running at all.
pub fn validate(system: &McpSystem, target: &Target, observed: &Observed) -> Result<Validated, Vec<Finding>> {
    let spec = system.spec.clone();
    let mut findings = conflicts(&spec);
    findings.extend(move_back(system, target, observed.embedded));
    if !findings.is_empty() {
        return Err(findings);
    }

    let mut left_out = Vec::new();
    let own = |kind, enabled: bool, port, workload: &WorkloadSpec| {
        enabled.then(|| ValidatedServer::Own { kind, port, workload: workload.clone() })
    };
    let servers = &spec.servers;
    let mut running: Vec<_> = [
        own(ServerKind::Memory, servers.memory.enabled, servers.memory.port, &servers.memory.workload),
        own(ServerKind::Tools, servers.tools.enabled, servers.tools.port, &servers.tools.workload),
    ]
    .into_iter()
    .flatten()
    .collect();
    running.extend(
        servers
            .weaviate_direct
            .as_ref()
            .and_then(|server| own(ServerKind::WeaviateDirect, true, server.port, &server.workload)),
    );
    for extra in &spec.extra_servers {
        match extra_server(extra, target) {
            Ok(server) => running.push(server),
            Err(reason) => left_out.push(LeftOut::new(&extra.name, reason)),
        }
    }
    // Last in order, since it asks all the others; started in parallel it waits for them by itself.
    running.extend(own(
        ServerKind::Orchestrator,
        servers.orchestrator.enabled,
        servers.orchestrator.port,
        &servers.orchestrator.workload,
    ));

    Ok(Validated {
        name: system.metadata.name.clone().unwrap_or_default(),
        namespace: system.metadata.namespace.clone().unwrap_or_else(|| "default".to_owned()),
        image: own_image(&spec, target),
        embedded: observed.embedded,
        target: target.clone(),
        servers: running,
        left_out,
        shortfalls: shortfalls(&spec, target, observed),
        spec: Box::new(spec),
    })
}

/// What of the file cannot work, though the rest does.
fn shortfalls(spec: &McpSystemSpec, target: &Target, observed: &Observed) -> Vec<Finding> {
    let tools = &spec.servers.tools;
    if !tools.enabled {
        return Vec::new();
    }
    let file = |path: &str| observed.documents.get(path).cloned();
    let is_set = |name: &str| is_set(name, &tools.workload.env, target, observed);
    mcp_system_user_tools::findings(&tools.config, &file, &is_set)
        .into_iter()
        .map(|finding| Finding::new(Reason::InvalidTools, format!("spec.servers.tools.config.{finding}")))
        .collect()
}

/// Whether a server with this environment of its own has a variable.
fn is_set(name: &str, env: &[EnvVar], target: &Target, observed: &Observed) -> bool {
    let is_optional = |variable: &EnvVar| {
        variable.value_from.as_ref().is_some_and(|source| source.secret_key_ref.optional == Some(true))
    };
    let own = env.iter().find(|variable| variable.name == name);
    match target {
        // What stands in a Secret is not looked at, and each pod has some variables from elsewhere.
        Target::Cluster { .. } => {
            own.is_some() || ["HOME", "HOSTNAME", "PATH"].contains(&name) || name.starts_with("KUBERNETES_")
        }
        // There a variable of the same name stands for a Secret; only where it is optional the server starts without.
        Target::Laptop { .. } => {
            observed.variables.contains(name) || own.is_some_and(|variable| !is_optional(variable))
        }
    }
}

/// Embedded storage whose memories were moved to PostgreSQL lacks whatever was stored since. Nobody is served from it
/// unless that is asked for.
fn move_back(system: &McpSystem, target: &Target, embedded: Embedded) -> Option<Finding> {
    let spec = &system.spec;
    let is_wanted = spec.servers.memory.enabled && spec.storage.type_ == StorageType::Embedded;
    if !is_wanted || embedded != Embedded::Moved {
        return None;
    }
    let consent = match target {
        Target::Cluster { .. } => {
            let name = system.metadata.name.as_deref().unwrap_or_default();
            format!("the annotation mcpsystem.io/moved from the volume claim {name}-memory")
        }
        Target::Laptop { .. } => format!("the file {MOVED_FILE} from the data folder of memory"),
    };
    Some(Finding::new(
        Reason::NotSupported,
        format!(
            "spec.storage.type is Embedded, but the memories of embedded storage were moved to PostgreSQL, and what was \
             stored since is only there: set it back to Postgres, or, to go on from what embedded storage held then, \
             remove {consent}; docs/MEMORY.md tells how to take the rest along"
        ),
    ))
}

/// What the API server's rules refuse, for objects that were stored before a rule was there.
fn conflicts(spec: &McpSystemSpec) -> Vec<Finding> {
    let mut findings = Vec::new();
    let invalid = |message: String| Finding::new(Reason::InvalidSpec, message);
    if spec.storage.type_ == StorageType::Embedded && spec.servers.memory.workload.most() > 1 {
        findings.push(invalid(
            "embedded storage holds one memory replica: set servers.memory.replicas to 1, without autoscaling"
                .to_owned(),
        ));
    }
    if spec.storage.type_ == StorageType::Postgres && spec.storage.postgres.is_none() {
        findings.push(invalid(
            "spec.storage.type is Postgres, but spec.storage.postgres is missing: say how the database is reached"
                .to_owned(),
        ));
    }
    let servers = &spec.servers;
    let mut taken: Vec<(&str, u16)> = [
        ("orchestrator", servers.orchestrator.enabled, servers.orchestrator.port),
        ("memory", servers.memory.enabled, servers.memory.port),
        ("tools", servers.tools.enabled, servers.tools.port),
    ]
    .into_iter()
    .filter_map(|(name, enabled, port)| enabled.then_some((name, port)))
    .collect();
    taken.extend(servers.weaviate_direct.as_ref().map(|server| ("weaviate-direct", server.port)));
    taken.extend(spec.extra_servers.iter().filter_map(|extra| Some((extra.name.as_str(), extra.port?))));
    for (index, (name, port)) in taken.iter().enumerate() {
        if let Some((other, _)) = taken.iter().take(index).find(|(_, other)| other == port) {
            findings
                .push(invalid(format!("{other} and {name} have the same port {port}: give each its own")));
        }
    }
    for extra in &spec.extra_servers {
        let forms = [extra.image.is_some(), extra.process.is_some(), extra.url.is_some()];
        if forms.iter().filter(|is_set| **is_set).count() != 1 {
            findings.push(invalid(format!(
                "extra server {}: keep exactly one of image, process and url",
                extra.name
            )));
        }
        if extra.url.is_none() && extra.port.is_none() {
            findings
                .push(invalid(format!("extra server {}: an image or a process needs a port", extra.name)));
        }
    }
    findings
}

fn extra_server(extra: &ExtraServer, target: &Target) -> Result<ValidatedServer, String> {
    if let Some(url) = &extra.url {
        return Ok(ValidatedServer::Remote { name: extra.name.clone(), url: url.clone() });
    }
    let port = extra.port.unwrap_or_default();
    match target {
        Target::Cluster { .. } if extra.process.is_some() => {
            Err("a process runs on a laptop only; a cluster needs an image or a url".to_owned())
        }
        Target::Laptop { container_runtime: None, .. } if extra.image.is_some() => {
            Err("an image needs docker or podman, installed and running; start one of them, or use process or url"
                .to_owned())
        }
        _ => Ok(ValidatedServer::Extra { server: extra.clone(), port }),
    }
}

/// The image of the project's own servers: the spec's, completed from the operator's own.
fn own_image(spec: &McpSystemSpec, target: &Target) -> Option<Image> {
    let Target::Cluster { image: operator } = target else { return None };
    let (repository, version) = split_reference(operator);
    let image = &spec.image;
    let reference = match (&image.repository, &image.tag, &image.digest) {
        (None, None, None) => operator.clone(),
        (name, _, Some(digest)) => format!("{}@{digest}", name.as_deref().unwrap_or(repository)),
        (name, Some(tag), None) => format!("{}:{tag}", name.as_deref().unwrap_or(repository)),
        (Some(name), None, None) => format!("{name}{version}"),
    };
    Some(Image { reference, pull_policy: image.pull_policy, pull_secrets: image.pull_secrets.clone() })
}

/// `host:5000/name:tag` as `host:5000/name` and `:tag`; a digest likewise with its `@`.
fn split_reference(reference: &str) -> (&str, &str) {
    if let Some(at) = reference.find('@') {
        return reference.split_at(at);
    }
    let name_start = reference.rfind('/').map_or(0, |slash| slash + 1);
    match reference[name_start..].find(':') {
        Some(colon) => reference.split_at(name_start + colon),
        None => (reference, ""),
    }
}

/// An extra server's image, which needs no credentials of the system's own.
pub(crate) fn extra_image(reference: &str, pull_policy: PullPolicy, spec: &McpSystemSpec) -> Image {
    Image { reference: reference.to_owned(), pull_policy, pull_secrets: spec.image.pull_secrets.clone() }
}
