//! The memory server: what agents remember, and what was said in their conversations.
//!
//! `handler` speaks MCP, `arguments` tells usable calls from others, `model` holds the values and `store`
//! keeps them. The server knows its own settings and its data directory; it must not know Kubernetes, the
//! plan, or any other server.

mod arguments;
mod handler;
pub mod model;
pub mod moment;
pub mod store;

use anyhow::Context;
pub use arguments::{Limits, Unusable};
pub use handler::MemoryHandler;
use mcp_system_config::{MemorySettings, ServerConfig};
use mcp_system_kit::Server;
use std::path::Path;
use std::sync::Arc;
use store::Store;
use store::sqlite::SqliteStore;

/// Serves until `shutdown` resolves, with the embedded store in the directory `data`.
pub async fn serve(
    config: ServerConfig<MemorySettings>,
    data: &Path,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let store = SqliteStore::open(data, &config.settings.pool).await.context("the store cannot be used")?;
    let store = Arc::new(store);
    let served = server(config, store.clone()).run(shutdown).await;
    // Closed in any case: a server that could not listen has opened its store all the same.
    store.close().await;
    served
}

/// The server around a store that is open.
fn server<S: Store>(
    config: ServerConfig<MemorySettings>,
    store: Arc<S>,
) -> Server<MemorySettings, MemoryHandler<S>> {
    let handler = MemoryHandler::new(store.clone(), Limits::of(&config.settings));
    Server::new(config, handler).dependency("store", move || {
        let store = store.clone();
        async move { store.check().await.map_err(|error| error.to_string()) }
    })
}
