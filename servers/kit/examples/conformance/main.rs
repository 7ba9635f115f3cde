//! The server that MCP's official conformance suite talks to, built on the kit. Its tools, prompts and resources
//! have the names and contents that the suite's scenarios ask for; the protocol around them is the kit's own.
//!
//! ```text
//! cargo run --example conformance -- 8765
//! conformance server --url http://127.0.0.1:8765/mcp --requirements 2026-07-28
//! conformance server --url http://127.0.0.1:8765/mcp --requirements 2025-11-25
//! ```
//! One thing here no server of this house does: [`asks`] lets tools ask clients of the 2025 revisions in the middle
//! of a call, which takes an answer's way back to the process that asked. 2026-07-28 needs no such thing ([`rounds`]).

mod asks;
mod handler;
mod prompts;
mod resources;
mod rounds;
mod seal;
mod tools;

use handler::Fixtures;
use mcp_system_config::{ServerConfig, ToolsSettings};
use mcp_system_kit::{Server, shutdown_signal, telemetry};

/// A picture of one grey dot, as PNG in base64.
const PICTURE: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNoAAAAggCB2kUIOwAAAABJRU5ErkJggg==";
/// A sound of no length, as WAV in base64.
const SOUND: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA=";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut config = ServerConfig::<ToolsSettings>::of_kind();
    config.shutdown.drain_seconds = 0;
    config.listen.port = std::env::args().nth(1).map_or(Ok(8765), |port| port.parse())?;
    telemetry::init(&config.log)?;
    Server::new(config, Fixtures::default()).around(asks::around).run(shutdown_signal()).await
}
