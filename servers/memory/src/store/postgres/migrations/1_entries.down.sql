DROP TABLE mcp_memory.tombstones;
DROP TABLE mcp_memory.sessions;
DROP TABLE mcp_memory.entries;
DROP TABLE mcp_memory.scopes;
