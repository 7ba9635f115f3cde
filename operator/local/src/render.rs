//! A plan into processes. Pure: this must not know files that exist, running processes or time; what it
//! depends on is handed in, and the same input gives the same processes.

use crate::directories::Directories;
use crate::expand::expand;
use mcp_system_crds::PullPolicy;
use mcp_system_crds::config::ServerKind;
use mcp_system_plan::{
    EnvValue, FromEnvironment, Health, Image, MountSource, Plan, Run, SecretFile, SecretSource, Workload,
    parse_cpu, parse_memory,
};
use mcp_system_probe::Endpoint;
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The facts of this machine that processes depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// This program, which is every server of the project's own.
    pub(crate) program: &'a Path,
    /// Where things are kept.
    pub(crate) directories: &'a Directories,
    /// The folder of the `McpSystem` file.
    pub(crate) base: &'a Path,
    /// The address that servers bind.
    pub(crate) bind: IpAddr,
    /// What runs images, where there is something.
    pub(crate) runtime: Option<&'a str>,
    /// The environment of whoever started the system.
    pub(crate) variables: &'a BTreeMap<String, String>,
}

/// The processes of a plan.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rendered {
    /// Those that are to run, in start order.
    pub(crate) processes: Vec<ProcessSpec>,
    /// Those that cannot be started as things are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) withheld: Vec<Withheld>,
}

/// A server that cannot be started as things are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Withheld {
    /// Its name.
    pub(crate) name: String,
    /// What is missing and what to do.
    pub(crate) message: String,
}

/// One process.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProcessSpec {
    /// The server's name in the system.
    pub(crate) name: String,
    /// Which of the project's own servers it is.
    #[serde(skip)]
    pub(crate) kind: Option<ServerKind>,
    /// What is executed.
    pub(crate) program: PathBuf,
    /// Its arguments.
    pub(crate) args: Vec<Value>,
    /// The variables that it gets besides those of the environment of `up`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) env: BTreeMap<String, Value>,
    /// The folder in which it runs.
    pub(crate) directory: PathBuf,
    /// The file that it reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) config: Option<Config>,
    /// The files with secrets that it reads.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) secrets: Vec<Secret>,
    /// Where it stores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<PathBuf>,
    /// What is to be done once, before its first start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) moves: Option<Move>,
    /// Its log.
    pub(crate) log: PathBuf,
    /// Its PID file.
    pub(crate) pid_file: PathBuf,
    /// The port that it listens on.
    pub(crate) port: u16,
    /// Its MCP endpoint.
    pub(crate) endpoint: String,
    /// Where one of the project's own servers tells what came of its last MCP request to itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) self_check: Option<String>,
    /// Where it tells its health; without it, its open port is its health.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) health: Option<HealthUrls>,
    /// When a process that is not alive any more is replaced.
    pub(crate) liveness: Liveness,
    /// The memory above which it is restarted, in bytes. A processor limit is not held for a process: only
    /// the cgroups of a container or a cluster can do that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory_limit: Option<u64>,
    /// Seconds from SIGTERM to SIGKILL.
    pub(crate) grace_seconds: u32,
    /// The container that it is, for an image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) container: Option<Container>,
}

/// Memories that are moved into the database of the server's settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Move {
    /// The data folder that they lie in.
    pub(crate) from: PathBuf,
    /// The arguments of this program that move them.
    pub(crate) args: Vec<String>,
}

/// The file that a server reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Config {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    /// A hash of those settings that a running server cannot take over.
    pub(crate) restart_hash: String,
}

/// A file with a secret that a server reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Secret {
    pub(crate) path: PathBuf,
    pub(crate) content: Content,
}

/// What stands in such a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Content {
    /// It is made once for the whole system.
    Made,
    /// This text.
    Text(Value),
    /// Whatever stands in that file.
    Of(PathBuf),
}

/// Where a server tells its health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct HealthUrls {
    pub(crate) ready: String,
    pub(crate) live: String,
}

/// When a process that is not alive any more is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Liveness {
    pub(crate) period_seconds: u32,
    pub(crate) timeout_seconds: u32,
    pub(crate) failures: u32,
}

/// A container on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Container {
    pub(crate) runtime: String,
    pub(crate) name: String,
}

/// An argument or the value of a variable. What a secret is part of is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Plain(String),
    Secret { text: String, shown: String },
}

impl Value {
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Plain(text) | Self::Secret { text, .. } => text,
        }
    }

    fn shown(&self) -> &str {
        match self {
            Self::Plain(shown) | Self::Secret { shown, .. } => shown,
        }
    }

    /// What the environment holds may be a secret.
    pub(crate) fn from_environment(text: &str) -> Self {
        Self::Secret { text: text.to_owned(), shown: "(taken from the environment)".to_owned() }
    }

    /// A text with the values of variables in it.
    fn expanded(text: &str, env: &BTreeMap<String, Self>) -> Self {
        let texts = env.iter().map(|(name, value)| (name.clone(), value.text().to_owned())).collect();
        let plain = env
            .iter()
            .filter(|(_, value)| matches!(value, Self::Plain(_)))
            .map(|(name, value)| (name.clone(), value.text().to_owned()))
            .collect();
        let (full, shown) = (expand(text, &texts), expand(text, &plain));
        if full == shown { Self::Plain(full) } else { Self::Secret { text: full, shown } }
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Plain(text)
    }
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self.shown(), f)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.shown())
    }
}

impl ProcessSpec {
    /// How it is found out whether it answers MCP requests.
    pub(crate) fn question(&self) -> Endpoint {
        match &self.self_check {
            Some(url) => Endpoint::SelfCheck(url.clone()),
            None => Endpoint::Mcp(self.endpoint.clone()),
        }
    }

    /// Whether the files that it reads hold the same.
    pub(crate) fn reads_the_same(&self, new: &Self) -> bool {
        self.config == new.config && self.secrets == new.secrets
    }

    /// Whether a process of this spec can go on running under `new`, at most with other texts in the files
    /// that it reads.
    pub(crate) fn can_become(&self, new: &Self) -> bool {
        let hash = |spec: &Self| spec.config.as_ref().map(|config| config.restart_hash.clone());
        let rest = |spec: &Self| Self { config: None, secrets: Vec::new(), moves: None, ..spec.clone() };
        hash(self) == hash(new) && rest(self) == rest(new)
    }
}

/// Renders every server of a plan that is to run here.
pub(crate) fn render(plan: &Plan, place: &Place<'_>) -> Rendered {
    let mut rendered = Rendered::default();
    for workload in plan.workloads.iter().filter(|workload| workload.replicas > 0) {
        match process(&plan.system, workload, place) {
            Ok(process) => rendered.processes.push(process),
            Err(message) => rendered.withheld.push(Withheld { name: workload.name.clone(), message }),
        }
    }
    rendered
}

fn process(system: &str, workload: &Workload, place: &Place<'_>) -> Result<ProcessSpec, String> {
    let mut env = environment(workload, place)?;
    let directories = place.directories;
    let config = workload.config.as_ref().map(|config| Config {
        path: directories.configs().join(format!("{}.yaml", workload.name)),
        text: config.text.clone(),
        restart_hash: config.restart_hash.clone(),
    });
    let secrets = secrets(workload, place)?;
    let folder = workload.volume.is_some().then(|| directories.data(&workload.name));
    let (moves, data) = if workload.moves { (folder, None) } else { (None, folder) };
    let moves = moves.zip(config.as_ref()).map(|(from, config)| moving(from, config));
    let mut container = None;
    let (program, args, directory) = match &workload.run {
        Run::Serve { kind, .. } => {
            for (name, value) in place.variables.iter().filter(|(name, _)| is_server_variable(name)) {
                env.entry(name.clone()).or_insert_with(|| Value::from_environment(value));
            }
            let args = serve(*kind, workload.port, place.bind, config.as_ref(), data.as_deref());
            (place.program.to_owned(), args, directories.root.clone())
        }
        Run::Process { command, args, working_directory } => {
            let directory =
                working_directory.as_deref().map_or(place.base.to_owned(), |path| below(place.base, path));
            (program(command, place.base), expanded(args, &env), directory)
        }
        Run::Image { image, args } => {
            let runtime = place.runtime.ok_or("neither docker nor podman is on the PATH")?.to_owned();
            let name = container_name(system, &workload.name, &directories.root);
            let args = run_image(&name, image, &expanded(args, &env), workload, &env, place.bind);
            container = Some(Container { runtime: runtime.clone(), name });
            // The rest stands on the command line, and is none of the runtime's own business.
            env.retain(|_, value| matches!(value, Value::Secret { .. }));
            (PathBuf::from(runtime), args, place.base.to_owned())
        }
    };
    let liveness = &workload.probes.liveness;
    let positive = |number: i32| u32::try_from(number).unwrap_or(1).max(1);
    Ok(ProcessSpec {
        name: workload.name.clone(),
        kind: workload.kind(),
        program,
        args,
        env,
        directory,
        config,
        secrets,
        data,
        moves,
        log: directories.log(&workload.name),
        pid_file: directories.pid(&workload.name),
        port: workload.port,
        endpoint: workload.endpoint.clone(),
        self_check: workload.self_check.clone(),
        health: match &workload.health {
            Health::Http { ready, live } => {
                let url = |path: &str| format!("http://127.0.0.1:{}{path}", workload.port);
                Some(HealthUrls { ready: url(ready), live: url(live) })
            }
            Health::Port => None,
        },
        liveness: Liveness {
            period_seconds: positive(liveness.period_seconds),
            timeout_seconds: positive(liveness.timeout_seconds),
            failures: positive(liveness.failure_threshold),
        },
        // A container's limit is its runtime's to hold.
        memory_limit: if container.is_some() { None } else { memory_limit(workload) },
        grace_seconds: workload.termination_seconds,
        container,
    })
}

fn moving(from: PathBuf, config: &Config) -> Move {
    let text = |path: &Path| path.display().to_string();
    let args = ["memory", "move", "--config", &text(&config.path), "--data", &text(&from)].map(str::to_owned);
    Move { args: args.to_vec(), from }
}

/// Whether a variable of the environment is one that the project's own servers read, and that is not part
/// of their arguments or files already. When its value changes, they are replaced.
fn is_server_variable(name: &str) -> bool {
    const OF_SERVERS: [&str; 12] = [
        "MCP_BATCH_SIZE",
        "MCP_CACHE_SIZE",
        "MCP_CACHE_TTL",
        "MCP_FAILURE_THRESHOLD",
        "MCP_LOG_FORMAT",
        "MCP_POOL_MAX_SIZE",
        "MCP_POOL_MIN_SIZE",
        "MCP_RECOVERY_TIMEOUT",
        "POSTGRES_PASSWORD",
        "RUST_LOG",
        "WEAVIATE_API_KEY",
        "WEAVIATE_URL",
    ];
    OF_SERVERS.contains(&name)
}

/// The declared variables, each literal one expanded by those before it. A secret one is taken from the
/// environment variable of the same name.
fn environment(workload: &Workload, place: &Place<'_>) -> Result<BTreeMap<String, Value>, String> {
    let mut env = BTreeMap::new();
    let mut missing = Vec::new();
    for variable in &workload.env {
        let name = &variable.name;
        let value = match &variable.value {
            EnvValue::Literal(text) => Value::expanded(text, &env),
            EnvValue::Secret { name: secret, key, optional } => match place.variables.get(name) {
                Some(text) => Value::from_environment(text),
                None if *optional => continue,
                None => {
                    missing.push(format!("{name} (on a cluster, key {key} of Secret {secret})"));
                    continue;
                }
            },
        };
        env.insert(name.clone(), value);
    }
    if missing.is_empty() {
        Ok(env)
    } else {
        Err(format!("not started: set the environment variable {} and run `up` again", missing.join(" and ")))
    }
}

/// The files with secrets, as far as the environment tells what stands in them.
fn secrets(workload: &Workload, place: &Place<'_>) -> Result<Vec<Secret>, String> {
    let content = |file: &SecretFile| match &file.source {
        SecretSource::Made { .. } => Ok::<_, String>(Content::Made),
        SecretSource::Given { on_laptop, secret, key } => {
            let variable = |name: &String| place.variables.get(name).filter(|value| !value.is_empty());
            let text = |name| variable(name).map(|value| Content::Text(Value::from_environment(value)));
            let path = |name| variable(name).map(|value| Content::Of(below(place.base, value)));
            let (content, what) = match on_laptop {
                FromEnvironment::Text(name) => (text(name), name.clone()),
                FromEnvironment::Path(name) => (path(name), format!("{name} to the path of a file")),
                FromEnvironment::TextOrPath { text: name, path: file } => {
                    (text(name).or_else(|| path(file)), format!("{name}, or {file} to the path of a file,"))
                }
            };
            content.ok_or_else(|| {
                format!(
                    "not started: set the environment variable {what} (on a cluster, key {key} of Secret {secret}) \
                     and run `up` again"
                )
            })
        }
    };
    let path = |file: &SecretFile| place.directories.root.join(&file.path);
    workload.secrets.iter().map(|file| Ok(Secret { path: path(file), content: content(file)? })).collect()
}

fn expanded(args: &[String], env: &BTreeMap<String, Value>) -> Vec<Value> {
    args.iter().map(|arg| Value::expanded(arg, env)).collect()
}

fn serve(
    kind: ServerKind,
    port: u16,
    bind: IpAddr,
    config: Option<&Config>,
    data: Option<&Path>,
) -> Vec<Value> {
    let mut args = vec!["serve".to_owned(), kind.name().to_owned()];
    let mut option = |name: &str, value: String| args.extend([name.to_owned(), value]);
    if let Some(config) = config {
        option("--config", config.path.display().to_string());
    }
    option("--bind", bind.to_string());
    option("--port", port.to_string());
    if let Some(data) = data {
        option("--data", data.display().to_string());
    }
    args.into_iter().map(Value::from).collect()
}

/// A name is looked up on the PATH; a path starts at the file's folder.
fn program(command: &str, base: &Path) -> PathBuf {
    if command.contains('/') { below(base, command) } else { PathBuf::from(command) }
}

/// A path of the file, without the `.` that it may begin with.
fn below(base: &Path, path: &str) -> PathBuf {
    base.join(path).components().collect()
}

/// The name of a container. The system's folder is part of it: whatever homes there are, no two systems of a machine
/// have containers of one name, and one that is removed by its name is this system's own.
fn container_name(system: &str, server: &str, root: &Path) -> String {
    let digest = Sha256::digest(root.as_os_str().as_encoded_bytes());
    let folder = digest.iter().take(4).fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    format!("mcp-{system}-{server}-{folder}")
}

fn run_image(
    name: &str,
    image: &Image,
    image_args: &[Value],
    workload: &Workload,
    env: &BTreeMap<String, Value>,
    bind: IpAddr,
) -> Vec<Value> {
    let pull = match image.pull_policy {
        PullPolicy::IfNotPresent => "missing",
        PullPolicy::Always => "always",
        PullPolicy::Never => "never",
    };
    let port = workload.port;
    let mut args = vec!["run".to_owned(), "--rm".to_owned()];
    let mut option = |name: &str, value: String| args.extend([name.to_owned(), value]);
    option("--name", name.to_owned());
    option("--pull", pull.to_owned());
    option("--publish", format!("{bind}:{port}:{port}"));
    if let Some(bytes) = memory_limit(workload) {
        option("--memory", format!("{bytes}b"));
    }
    if let Some(thousandths) = workload.resources.limits.get("cpu").and_then(|cpu| parse_cpu(cpu)) {
        option("--cpus", format!("{}.{:03}", thousandths / 1000, thousandths % 1000));
    }
    // What every other server reads from this machine's own disk, an image does as well.
    for mount in &workload.mounts {
        let is_written = matches!(mount.source, MountSource::Claim { read_only: false, .. });
        let mode = if is_written { "" } else { ",readonly" };
        option("--mount", format!("type=bind,source={path},target={path}{mode}", path = mount.path));
    }
    for (name, value) in env {
        match value {
            Value::Plain(text) => option("--env", format!("{name}={text}")),
            // The name alone: the runtime takes the value from its environment, and no command line shows it.
            Value::Secret { .. } => option("--env", name.clone()),
        }
    }
    args.push(image.reference.clone());
    args.into_iter().map(Value::from).chain(image_args.iter().cloned()).collect()
}

fn memory_limit(workload: &Workload) -> Option<u64> {
    workload.resources.limits.get("memory").and_then(|memory| parse_memory(memory))
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
