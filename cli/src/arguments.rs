//! What can be typed.

use clap::{Args, Parser, Subcommand, ValueEnum};
use mcp_system_config::{LogFormat, LogLevel, ServerKind};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

/// Runs a whole system of MCP servers from one file: on this machine, or on a Kubernetes cluster.
#[derive(Debug, Parser)]
#[command(name = "mcp-system", version, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a system on this machine, wait until it is ready, and follow its logs.
    ///
    /// Without a file, `mcp-system.yaml` of the current folder is read where there is one; otherwise the
    /// built-in system `default` runs: orchestrator, memory and tools. A system that runs already is
    /// brought up to its file.
    Up {
        /// The file that describes the system; `-` is standard input.
        #[arg(short, long)]
        file: Option<PathBuf>,
        /// Leave it in the background as soon as it is ready.
        #[arg(short, long)]
        detach: bool,
    },
    /// End a system on this machine. What it has stored stays.
    Down {
        #[command(flatten)]
        choice: Choice,
    },
    /// Show how a system on this machine is; succeeds only when it is ready.
    Status {
        #[command(flatten)]
        choice: Choice,
        /// Print everything as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the logs of the servers on this machine.
    Logs {
        /// The system of this name; by default the only one that runs.
        #[arg(long)]
        name: Option<String>,
        /// The server; without one, all of them. `supervisor` tells of starts and ends.
        server: Option<String>,
        /// Go on with what is added.
        #[arg(short, long)]
        follow: bool,
        /// How many of the last lines of each.
        #[arg(short = 'n', long, default_value_t = 50)]
        lines: usize,
    },
    /// End the process of one server on this machine and start it again.
    Restart {
        #[command(flatten)]
        choice: Choice,
        /// The server.
        server: String,
    },
    /// Print what would run, on this machine and on a cluster, and run nothing.
    Plan {
        /// The file that describes the system; `-` is standard input.
        #[arg(short, long)]
        file: Option<PathBuf>,
        /// Where it would run.
        #[arg(long, value_enum, default_value_t = PlanTarget::Both)]
        target: PlanTarget,
        /// The image that a cluster's operator runs servers with.
        #[arg(long, env = "MCP_SYSTEM_IMAGE", default_value = concat!("mcp-system:", env!("CARGO_PKG_VERSION")))]
        image: String,
        /// How it is printed.
        #[arg(short, long, value_enum, default_value_t = Output::Yaml)]
        output: Output,
    },
    /// Print the CustomResourceDefinition of McpSystem.
    Crd,
    /// Run the operator, which keeps the McpSystems of a cluster as they should be.
    Operator(Operator),
    /// Run one server in this process.
    ///
    /// A setting is taken from the command line, else the environment, else the file, else its default.
    Serve(Serve),
    /// Take the memory's data out, in, or back, or check it.
    Memory(Memory),
    /// Print the version.
    Version,
    /// The supervisor in the background, which `up -d` starts.
    #[command(hide = true)]
    Supervise { name: String },
}

/// Which system of this machine is meant; by default the only one that runs.
#[derive(Debug, Args)]
pub(crate) struct Choice {
    /// The system of this name.
    #[arg(long)]
    name: Option<String>,
    /// The system that this file describes.
    #[arg(short, long, conflicts_with = "name")]
    file: Option<PathBuf>,
}

impl From<Choice> for mcp_system_local::Choice {
    fn from(choice: Choice) -> Self {
        Self { name: choice.name, file: choice.file }
    }
}

/// Where a plan is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlanTarget {
    Cluster,
    Laptop,
    Both,
}

/// How a plan is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Yaml,
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Which server: orchestrator, memory, tools or weaviate-direct.
    pub(crate) server: ServerKind,
    /// The file with its settings.
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
    /// The address to bind. Default 127.0.0.1.
    #[arg(long)]
    pub(crate) bind: Option<IpAddr>,
    /// The port to listen on. Default orchestrator 8002, memory 8003, tools 8006, weaviate-direct
    /// 8001.
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// The folder of what the server stores.
    #[arg(long, env = "MCP_DATA_DIR", default_value = "data")]
    pub(crate) data: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Operator {
    /// The image of servers whose McpSystem names none: the operator's own.
    #[arg(long, env = "MCP_SYSTEM_IMAGE")]
    pub(crate) image: String,
    /// A namespace whose McpSystems are looked after; may be given several times. Default all.
    #[arg(long, env = "MCP_SYSTEM_NAMESPACES", value_delimiter = ',')]
    pub(crate) namespace: Vec<String>,
    /// The address on which health and metrics are served.
    #[arg(long, env = "MCP_BIND_HOST", default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    pub(crate) bind: IpAddr,
    /// The port of that.
    #[arg(long, env = "MCP_OPERATOR_PORT", default_value_t = 8080)]
    pub(crate) port: u16,
    /// Act without asking for the lease; only one operator may run then.
    #[arg(long, env = "MCP_SYSTEM_NO_LEADER_ELECTION")]
    pub(crate) no_leader_election: bool,
    /// The name of the lease that one of several operators holds.
    #[arg(long, env = "MCP_SYSTEM_LEASE_NAME", default_value = "mcp-system-operator")]
    pub(crate) lease_name: String,
    /// Its namespace. Default that of the pod, or of the kubeconfig.
    #[arg(long, env = "MCP_SYSTEM_LEASE_NAMESPACE")]
    pub(crate) lease_namespace: Option<String>,
    /// Seconds after which an operator that fell silent loses it; it is renewed three times as often.
    #[arg(long, env = "MCP_SYSTEM_LEASE_DURATION", default_value_t = 15, value_parser = clap::value_parser!(u64).range(2..=3600))]
    pub(crate) lease_duration: u64,
    /// The name of this process among operators.
    #[arg(long, env = "POD_NAME", default_value = "operator")]
    pub(crate) identity: String,
    /// Seconds from one question to a server, whether it answers, to the next.
    #[arg(long, env = "MCP_SYSTEM_PROBE_INTERVAL", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) probe_interval: u64,
    /// The least severe level that is logged: error, warn, info, debug or trace.
    #[arg(long, env = "MCP_LOG_LEVEL", default_value = "info")]
    pub(crate) log_level: LogLevel,
    /// How it is logged: json or human.
    #[arg(long, env = "MCP_LOG_FORMAT", default_value = "json")]
    pub(crate) log_format: LogFormat,
}

#[derive(Debug, Args)]
pub(crate) struct Memory {
    /// The folder in which the memory server stores.
    #[arg(long, global = true, env = "MCP_DATA_DIR", default_value = "data")]
    pub(crate) data: PathBuf,
    /// The file with the server's settings: where they name a PostgreSQL database, that is meant.
    #[arg(long, global = true)]
    pub(crate) config: Option<PathBuf>,
    /// Mean the PostgreSQL database whose URL stands in the environment variable MCP_POSTGRES_URL.
    #[arg(long, global = true, conflicts_with = "config")]
    pub(crate) postgres: bool,
    #[command(subcommand)]
    pub(crate) command: MemoryCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MemoryCommand {
    /// Write everything as JSON Lines, while a server serves or without one.
    Export {
        /// Where to; without a file, standard output.
        file: Option<PathBuf>,
        /// Go on after the last whole line that the file holds, if one broke off.
        #[arg(long, requires = "file")]
        resume: bool,
    },
    /// Write everything into a file that is there verified or not at all, while a server serves or without one.
    Backup {
        /// The file to make.
        file: PathBuf,
        /// Go on with the one that broke off and left FILE.partial.
        #[arg(long)]
        resume: bool,
    },
    /// Check that a backup is whole, and tell what it holds.
    Verify {
        /// The backup; `-` is standard input.
        file: PathBuf,
    },
    /// Add what a backup holds and is not there yet, while a server serves or without one; repeat it if it breaks off.
    Import {
        /// The backup; `-` is standard input.
        file: PathBuf,
    },
    /// Take a backup into a store that holds nothing, while a server serves or without one, and see that all of it is there.
    Restore {
        /// The backup; `-` is standard input.
        file: PathBuf,
    },
    /// Take all of a data folder into the PostgreSQL database of --config or --postgres, and see that it is there by
    /// count and checksum; what is there already stays as it is. No server may use the folder meanwhile.
    Move {
        /// A file in which what was moved is told as well, such as a container's /dev/termination-log.
        #[arg(long)]
        report: Option<PathBuf>,
    },
    /// Take the tables to another version, so that the program of before can be used again. No server may use a data folder
    /// meanwhile; the calls of those that use a database fail until the other program serves.
    Migrate {
        /// The version: from 1 to 3 in a data folder, from 1 to 5 in a PostgreSQL database.
        #[arg(long)]
        to: i64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_docs_tell_to_type_can_be_typed() {
        let docs = include_str!("../../docs/MEMORY.md");
        let mut count = 0;
        for block in docs.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            for line in block.lines().filter(|line| line.contains("mcp-system memory ")) {
                let command = line.split(['#', '<', '>']).next().unwrap_or_default();
                let words = command.split_whitespace().skip_while(|word| !word.ends_with("mcp-system"));
                let parsed = Arguments::try_parse_from(words);
                assert!(parsed.is_ok(), "{line}: {parsed:?}");
                count += 1;
            }
        }
        assert!(count >= 10, "only {count} commands");
    }
}
