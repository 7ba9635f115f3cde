//! Weaviate 1.35, without modules: vectors are given by the caller.
//!
//! It listens for its cluster and for gRPC on all addresses, which cannot be set, so it has a network of its own in
//! which there is only loopback. Its REST endpoint is a Unix socket, and a [`Relay`] leads to that.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::relay::Target;
use super::{Database, Program, Ready, Relay, folder};
use crate::cluster::{debian, parts};

/// Whom it lets in.
#[derive(Debug, Clone, Copy)]
pub enum Access<'a> {
    /// Everybody.
    Anonymous,
    /// Those with this API key.
    Key(&'a str),
}

/// A Weaviate of a test's own, empty.
pub fn weaviate(access: Access<'_>) -> Result<Database> {
    weaviate_at("127.0.0.1", access)
}

/// The same on another address of this machine: for the pods of a cluster whose network this process has entered.
pub fn weaviate_at(address: &str, access: Access<'_>) -> Result<Database> {
    debian::ensure(debian::FOR_DATABASES)?;
    parts::ensure(parts::FOR_DATABASES)?;
    let folder = folder("weaviate")?;
    let socket = folder.path().join("socket");
    let address = address.parse().with_context(|| format!("{address} is no address"))?;
    let relay = Relay::at(address, Target::Unix(socket.clone()))?;
    let program = Program {
        name: "weaviate",
        command: command(access, folder.path(), &socket)?,
        stop: Signal::SIGTERM,
        end: Signal::SIGKILL,
        is_ready: Ready(Box::new(move || is_ready(&socket).unwrap_or(false))),
    };
    Database::new(format!("http://{}", relay.address()), program, Some(relay), folder)
}

/// Makes a collection of this class, as no tool does.
pub fn make_collection(url: &str, access: Access<'_>, class: &Value) -> Result<()> {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail-with-body", "--header", "content-type: application/json"]);
    if let Access::Key(key) = access {
        curl.args(["--header", &format!("authorization: Bearer {key}")]);
    }
    curl.args(["--data", &class.to_string()]).arg(format!("{url}/v1/schema"));
    let made = curl.output().context("curl is missing: install it")?;
    ensure!(made.status.success(), "Weaviate makes no collection: {}", String::from_utf8_lossy(&made.stdout));
    Ok(())
}

fn command(access: Access<'_>, folder: &Path, socket: &Path) -> Result<Command> {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "--", "sh", "-c"]);
    // What a killed one left of its socket would be in the way.
    command.arg(r#"ip link set lo up && rm -f "$0" && exec "$@""#).arg(socket);
    command.arg(parts::program("weaviate-server")?).args(["--scheme", "unix", "--socket-path"]).arg(socket);
    command
        .env("PERSISTENCE_DATA_PATH", folder.join("data"))
        .env("DEFAULT_VECTORIZER_MODULE", "none")
        .env("ENABLE_MODULES", "")
        .env("DISABLE_TELEMETRY", "true")
        .env("GO_PROFILING_DISABLE", "true")
        .env("CLUSTER_HOSTNAME", "node1")
        .env("CLUSTER_IN_LOCALHOST", "true")
        .env("CLUSTER_ADVERTISE_ADDR", "127.0.0.1")
        .env("CLUSTER_BIND_ADDR", "127.0.0.1")
        .env("CLUSTER_GOSSIP_BIND_PORT", "7100")
        .env("CLUSTER_DATA_BIND_PORT", "7101")
        .env("RAFT_BOOTSTRAP_EXPECT", "1")
        .env("LOG_LEVEL", "warning");
    match access {
        Access::Anonymous => command.env("AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED", "true"),
        Access::Key(key) => command
            .env("AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED", "false")
            .env("AUTHENTICATION_APIKEY_ENABLED", "true")
            .env("AUTHENTICATION_APIKEY_ALLOWED_KEYS", key)
            .env("AUTHENTICATION_APIKEY_USERS", "tests"),
    };
    Ok(command)
}

fn is_ready(socket: &Path) -> std::io::Result<bool> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream
        .write_all(b"GET /v1/.well-known/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 200"))
}
