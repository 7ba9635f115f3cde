//! Tools that users declare, checked and made ready to run, as values.
//!
//! The plan asks this crate what is wrong with a declaration, and the tools server asks it for what to run: so
//! both judge alike. It knows the settings, JSON Schema, OpenAPI and enough SQL to tell one statement from two.
//! It must not know HTTP clients, databases, MCP or tokio, and does no I/O: callers hand in the texts of files
//! and a way to look up environment variables.

mod arguments;
mod database;
mod declaration;
mod escape;
mod findings;
pub mod hosts;
mod http;
mod openapi;
mod request;
pub mod sql;
mod template;

pub use arguments::{Arguments, with_defaults};
pub use database::Location;
pub use declaration::{Action, Declared, Effect};
pub use findings::{BUILT_IN, Compiled, Files, Finding, Texts, compile, findings};
pub use http::RequestTemplate;
pub use openapi::Operation;
pub use request::{Bounds, Header, Request, base, shown};
