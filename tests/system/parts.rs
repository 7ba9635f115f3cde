//! What every group uses: the clients, and what it knows of the servers.

use anyhow::Result;
use mcp_system_tests::clients::Clients;

use crate::group::Shared;

static CLIENTS: Shared<Clients> = Shared::new(Clients::install);

/// The official SDKs.
pub(crate) fn clients() -> Result<Clients> {
    CLIENTS.with(|clients| Ok(clients.clone()))
}

/// The tools of a system that sets nothing, by name.
pub(crate) const OWN_TOOLS: [&str; 14] = [
    "create_session",
    "execute_cache_delete",
    "execute_cache_get",
    "execute_cache_set",
    "execute_system_info",
    "get_conversation_history",
    "get_memory_statistics",
    "get_recent_memories",
    "get_tool_details",
    "list_tool_categories",
    "search_memories",
    "search_tools",
    "store_conversation",
    "store_memory",
];
