-- The vectors are made anew from the texts; the extension may serve others and stays.
DROP TABLE mcp_memory.vectors;
DROP INDEX mcp_memory.entries_by_words;
ALTER TABLE mcp_memory.entries DROP COLUMN words;
