-- What the database itself finds by, for scopes that are too large to be held in memory.

CREATE EXTENSION IF NOT EXISTS vector;

-- Of a long content the beginning: a tsvector has at most one megabyte.
ALTER TABLE mcp_memory.entries ADD COLUMN words tsvector
    GENERATED ALWAYS AS (to_tsvector('english', left(content, 100000))) STORED;
CREATE INDEX entries_by_words ON mcp_memory.entries USING gin (words) WHERE archived_at IS NULL;

-- Vectors of any length. Each model gets an HNSW index of its own over its part of them, made with its first vector.
CREATE TABLE mcp_memory.vectors (
    number bigint PRIMARY KEY REFERENCES mcp_memory.entries (number) ON DELETE CASCADE,
    scope  bigint NOT NULL,
    model  text COLLATE "C" NOT NULL,
    vector vector NOT NULL
);
