//! MCP on the wire, without an SDK: quick, and to the letter.

mod client;
mod http;
mod stdio;

pub use client::{Client, Timed};
pub use http::{Connection, Place, Reply};
pub use stdio::Pipe;
