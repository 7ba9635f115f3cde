//! Benchmarks of the memory server beside its peers, over the wire that clients use.
//!
//! ```text
//! cargo run --release --example bench -- memory --sizes 10000,100000 --peers mcp-memory-service,server-memory
//! cargo run --release --example bench -- locomo --data FOLDER
//! ```
//! `memory` measures time and space on synthetic text, for our server and for its peers in one run, and prints rows for
//! docs/BENCHMARKS.md. `locomo` measures what is found of the LoCoMo conversations, whose data is not part of this
//! repository: `--data` names the folder that holds `locomo10.json`. Servers are started here, on loopback, on free
//! ports, with data folders of their own that are gone afterwards. Every loop is bounded in count and in time; nothing
//! is asserted about time.

mod clock;
mod corpus;
mod locomo;
mod memory;
mod report;
mod servers;
mod system;

use anyhow::Result;
use clap::Parser;

/// Benchmarks of the memory server.
#[derive(Debug, Parser)]
#[command(name = "bench")]
enum Action {
    /// Time, throughput and memory on synthetic text, beside peers
    Memory(memory::Options),
    /// What is found of the LoCoMo conversations
    Locomo(locomo::Options),
}

fn main() -> Result<()> {
    match Action::parse() {
        Action::Memory(options) => memory::run(&options),
        Action::Locomo(options) => locomo::run(&options),
    }
}
