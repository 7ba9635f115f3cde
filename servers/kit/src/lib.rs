//! What every server of the house shares: MCP over HTTP, health, metrics, logs, settings, retries, circuit
//! breakers and an orderly end.
//!
//! A server hands its MCP handler to [`Server`] and gets the rest. This crate must not know any one
//! server, nor Kubernetes; it knows the settings that all servers have in common and nothing else.

pub mod breaker;
mod client;
mod dependency;
mod health;
mod listener;
pub mod load;
mod mcp;
pub mod metrics;
mod observed;
mod process;
pub mod retry;
mod routes;
mod self_check;
mod server;
mod signal;
pub mod telemetry;

pub use client::{http_client, install_crypto};
pub use dependency::Dependency;
pub use load::load;
pub use metrics::Metrics;
pub use server::Server;
pub use signal::shutdown_signal;
