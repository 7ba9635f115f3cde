//! What every server of the house shares: MCP over HTTP, callers and their keys, health, metrics, logs,
//! settings that change while it runs, calls to what it depends on, and an orderly end.
//!
//! A server hands its MCP handler to [`Server`] and gets the rest. This crate must not know any one
//! server, nor Kubernetes; it knows the settings that all servers have in common and nothing else.

mod allocator;
pub mod breaker;
mod callers;
mod client;
mod dependencies;
mod dependency;
mod followed;
pub mod guarded;
mod handler;
mod health;
mod limits;
mod listener;
mod load;
mod mcp;
pub mod metrics;
mod observed;
mod process;
mod profiling;
mod reload;
mod resident;
pub mod retry;
mod routes;
pub mod schema;
mod self_check;
mod server;
mod signal;
mod stalled;
pub mod telemetry;
mod trace;

pub use callers::{AGENTS_HEADER, Caller, ONE_TENANT_HEADER, TENANT_HEADER};
pub use client::{http_client, install_crypto};
pub use dependencies::Dependencies;
pub use dependency::Dependency;
pub use followed::until_other;
pub use load::Overrides;
pub use metrics::Metrics;
pub use reload::{Prepared, Reloaded};
pub use resident::give_back_what_starting_took;
pub use server::Server;
pub use signal::{end_on_signal, shutdown_signal};
