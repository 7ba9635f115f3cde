DROP TABLE mcp_memory.moves;
