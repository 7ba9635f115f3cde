ALTER TABLE mcp_memory.entries DROP COLUMN key_hash;
