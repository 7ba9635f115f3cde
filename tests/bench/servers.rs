//! The servers that are measured: how each is started and what its tools are called. A row a server.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mcp_system_tests::ports::free_port;
use mcp_system_tests::tied::Tied;
use mcp_system_tests::wire::{Client, Pipe, Place};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::corpus::Entry;
use crate::system::Usage;

/// A tool and what it is called with.
pub(crate) type Call = (&'static str, Value);

/// What makes one call of many memories, each with its number.
pub(crate) type Batch = fn(&[(usize, Entry)]) -> Call;

/// A kind of server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// How to get its program onto the PATH.
    install: &'static str,
    program: &'static str,
    /// `{port}` and `{dir}` are a free port and an empty folder, `{home}` the latter or the folder that was given.
    arguments: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
    /// Where it speaks HTTP; without, it is spoken to through its standard input.
    path: Option<&'static str>,
    pub(crate) store: fn(&Entry, usize) -> Call,
    /// Many in one call.
    pub(crate) batch: Option<Batch>,
    pub(crate) search: fn(&str) -> Call,
    /// The same where an answer may come from a cache.
    pub(crate) cached: Option<fn(&str) -> Call>,
    /// What a reader must know of its figures.
    pub(crate) note: &'static str,
}

/// Every kind; the first is ours.
pub(crate) const KINDS: [Kind; 4] = [
    Kind {
        name: "mcp-system",
        install: "cargo build --release --workspace",
        program: "mcp-system",
        arguments: &["serve", "memory", "--bind", "127.0.0.1", "--port", "{port}", "--data", "{dir}"],
        environment: &[("RUST_LOG", "warn")],
        path: Some("/mcp"),
        store: |entry, _| ("store_memory", own(entry)),
        batch: Some(|entries| {
            let memories: Vec<Value> = entries.iter().map(|(_, entry)| own_of_batch(entry)).collect();
            ("store_memory_batch", json!({"agent_id": AGENT, "memories": memories}))
        }),
        search: |query| ("search_memories", json!({"agent_id": AGENT, "query": query, "limit": 10})),
        cached: Some(|query| {
            let arguments = json!({"agent_id": AGENT, "query": query, "limit": 10, "use_cache": true});
            ("search_memories_cached", arguments)
        }),
        note: "",
    },
    Kind {
        name: "mcp-memory-service",
        install: "pip install mcp-memory-service==12.4.0 onnxruntime tokenizers",
        program: "memory",
        arguments: &["server", "--streamable-http", "--sse-port", "{port}"],
        environment: &[
            ("MCP_MEMORY_STORAGE_BACKEND", "sqlite_vec"),
            ("MCP_MEMORY_SQLITE_PATH", "{dir}/memories.db"),
            ("MCP_MEMORY_BASE_DIR", "{dir}"),
            ("HOME", "{home}"),
            ("MCP_MEMORY_ONNX_ALLOW_DOWNLOAD", "0"),
        ],
        path: Some("/mcp"),
        store: |entry, _| {
            let metadata = json!({"tags": ["bench"], "type": "note"});
            let arguments =
                json!({"content": entry.content, "conversation_id": entry.session, "metadata": metadata});
            ("memory_store", arguments)
        },
        batch: None,
        search: |query| ("memory_search", json!({"query": query, "limit": 10})),
        cached: None,
        note: "all-MiniLM-L6-v2 where --home holds its weights; else embeddings by hash, which take less time",
    },
    Kind {
        name: "server-memory",
        install: "npm install --global @modelcontextprotocol/server-memory",
        program: "mcp-server-memory",
        arguments: &[],
        environment: &[("MEMORY_FILE_PATH", "{dir}/memory.jsonl")],
        path: None,
        store: |entry, number| ("create_entities", json!({"entities": [entity(entry, number)]})),
        batch: Some(entities),
        search: |query| ("search_nodes", json!({"query": query})),
        cached: None,
        note: "stdio, one caller; looks for the whole query as a part of a text, so that a question finds nothing; \
               rewrites its file at each store, without fsync",
    },
    Kind {
        name: "mcp-memory",
        install: "cargo install mcp-memory --version 5.2.1 --locked --no-default-features",
        program: "mcp-memory",
        arguments: &[
            "--transport",
            "stdio",
            "--enable-graph-read",
            "--enable-graph-write",
            "-f",
            "{dir}/memory.mcpmem",
        ],
        environment: &[("MCP_MEMORY_DURABILITY", "sync")],
        path: None,
        store: |entry, number| ("create_entities", json!({"entities": [entity(entry, number)]})),
        batch: Some(entities),
        search: |query| ("search_nodes", json!({"query": query, "limit": 10})),
        cached: None,
        note: "stdio, one caller; MCP_MEMORY_DURABILITY=sync",
    },
];

/// Whose memories these are.
const AGENT: &str = "bench";

fn own(entry: &Entry) -> Value {
    json!({"agent_id": AGENT, "content": entry.content, "memory_type": "note", "session_id": entry.session})
}

fn own_of_batch(entry: &Entry) -> Value {
    json!({"content": entry.content, "memory_type": "note", "session_id": entry.session})
}

fn entity(entry: &Entry, number: usize) -> Value {
    json!({"name": format!("memory-{number}"), "entityType": entry.session, "observations": [entry.content]})
}

fn entities(entries: &[(usize, Entry)]) -> Call {
    let entities: Vec<Value> = entries.iter().map(|(number, entry)| entity(entry, *number)).collect();
    ("create_entities", json!({"entities": entities}))
}

/// A server at work, with its data. Dropped, both are gone.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) client: Client,
    pub(crate) place: Option<Place>,
    pub(crate) tools: Vec<String>,
    /// From the start of the process to the first answered search.
    pub(crate) start: Duration,
    pid: i32,
    /// Ends the process, where it is not the client's own.
    process: Option<Tied>,
    folder: TempDir,
}

/// What servers are started with.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Means<'a> {
    /// In place of the program on the PATH.
    pub(crate) program: Option<&'a Path>,
    /// The home of peers that keep weights there; else an empty one.
    pub(crate) home: Option<&'a Path>,
}

/// How long a server may take to answer for the first time.
const PATIENCE: Duration = Duration::from_mins(3);

impl Server {
    /// Starts it without data.
    pub(crate) fn start(kind: Kind, means: Means<'_>) -> Result<Self> {
        Self::start_in(kind, means, tempfile::tempdir().context("no folder for a server's data")?)
    }

    /// Ends it and starts it again with the data that it left.
    pub(crate) fn restart(self, means: Means<'_>) -> Result<Self> {
        let Self { kind, client, process, folder, .. } = self;
        drop((client, process));
        Self::start_in(kind, means, folder)
    }

    fn start_in(kind: Kind, means: Means<'_>, folder: TempDir) -> Result<Self> {
        let port = free_port()?;
        let home = means.home.unwrap_or(folder.path());
        let places = [("{port}", port.to_string()), ("{dir}", folder.path().display().to_string())];
        let places = places.into_iter().chain([("{home}", home.display().to_string())]);
        let fill =
            |text: &str| places.clone().fold(text.to_owned(), |text, (name, it)| text.replace(name, &it));
        let mut command = Command::new(means.program.unwrap_or(kind.program.as_ref()));
        command.args(kind.arguments.iter().map(|text| fill(text)));
        command.envs(kind.environment.iter().map(|(name, value)| (name, fill(value))));
        let started = Instant::now();
        let place = kind.path.map(|path| Place { port, path: path.to_owned() });
        let missing = || format!("cannot start {}; to install it: {}", kind.name, kind.install);
        let (mut client, process) = if let Some(place) = &place {
            let process = Tied::until_dropped(&command).with_context(missing)?;
            (connected(place, started).with_context(missing)?, Some(process))
        } else {
            (Client::stdio(Pipe::start(&mut command).with_context(missing)?)?, None)
        };
        let tools = client.tools()?;
        let (tool, arguments) = (kind.search)("first");
        client.call(tool, &arguments)?;
        let start = started.elapsed();
        let pid = client.pid().or_else(|| process.as_ref()?.pid);
        let pid = pid.with_context(|| format!("{} has no process", kind.name))?;
        Ok(Self { kind, client, place, tools, start, pid, process, folder })
    }

    /// What it holds and has used.
    pub(crate) fn usage(&self) -> Usage {
        Usage::of(self.pid)
    }

    /// Whether it has this tool.
    pub(crate) fn has(&self, tool: &str) -> bool {
        self.tools.iter().any(|name| name == tool)
    }
}

fn connected(place: &Place, started: Instant) -> Result<Client> {
    loop {
        match Client::http(place) {
            Ok(client) => return Ok(client),
            Err(error) if started.elapsed() > PATIENCE => bail!(error),
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}
