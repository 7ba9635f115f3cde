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
pub(crate) const OWN_TOOLS: [&str; 23] = [
    "clear_cache",
    "create_session",
    "delete_memory",
    "execute_cache_delete",
    "execute_cache_get",
    "execute_cache_set",
    "execute_system_disks",
    "execute_system_info",
    "execute_system_processes",
    "get_conversation_history",
    "get_memory_statistics",
    "get_recent_memories",
    "get_tool_details",
    "health_check",
    "list_tool_categories",
    "optimize_memory_storage",
    "search_memories",
    "search_memories_cached",
    "search_tools",
    "store_conversation",
    "store_memory",
    "store_memory_batch",
    "update_memory",
];
