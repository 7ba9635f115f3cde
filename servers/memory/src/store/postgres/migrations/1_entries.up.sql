-- The record. All names stand in a schema of their own, so that the database may hold other things.

CREATE SCHEMA IF NOT EXISTS mcp_memory;

CREATE TABLE mcp_memory.scopes (
    -- The upper 23 bits of the number of each of the scope's entries.
    number     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY CHECK (number BETWEEN 1 AND 8388607),
    tenant     text COLLATE "C" NOT NULL,
    agent_id   text COLLATE "C" NOT NULL,
    -- Counts the changes of the scope's entries. Whoever writes to the scope holds the lock of this row.
    version    bigint NOT NULL DEFAULT 0,
    -- Numbers are never given twice: how many were.
    last       bigint NOT NULL DEFAULT 0,
    written_at bigint NOT NULL DEFAULT 0,
    UNIQUE (tenant, agent_id)
);
CREATE INDEX scopes_by_write ON mcp_memory.scopes (written_at);

CREATE TABLE mcp_memory.entries (
    number          bigint PRIMARY KEY,
    scope           bigint NOT NULL REFERENCES mcp_memory.scopes (number),
    version         bigint NOT NULL,
    id              text COLLATE "C" NOT NULL,
    -- A message has a role, a memory has none.
    role            text CHECK (role IN ('user', 'assistant', 'system', 'tool')),
    user_id         text,
    session_id      text COLLATE "C",
    memory_type     text COLLATE "C" NOT NULL,
    content         text NOT NULL,
    -- JSON as it was given; text, because jsonb would change numbers and the order of fields.
    context         text,
    importance      double precision NOT NULL,
    created_at      bigint NOT NULL,
    updated_at      bigint NOT NULL,
    hash            bytea,
    idempotency_key text COLLATE "C",
    archived_at     bigint,
    archived_by     text COLLATE "C",
    merged_into     text,
    analysis        bytea,
    CHECK (number >> 40 = scope)
);
CREATE UNIQUE INDEX entries_by_id ON mcp_memory.entries (scope, id);
-- Not unique: a transaction that moves several entries passes through states in which two share one.
CREATE INDEX entries_by_version ON mcp_memory.entries (scope, version);
CREATE UNIQUE INDEX entries_by_key ON mcp_memory.entries (scope, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX entries_by_hash ON mcp_memory.entries (scope, hash) WHERE hash IS NOT NULL;
CREATE INDEX entries_by_type ON mcp_memory.entries (scope, memory_type, number) WHERE archived_at IS NULL;
CREATE INDEX entries_by_session ON mcp_memory.entries (scope, session_id, number) WHERE session_id IS NOT NULL;
CREATE INDEX entries_archived ON mcp_memory.entries (scope, archived_by) WHERE archived_at IS NOT NULL;

CREATE TABLE mcp_memory.sessions (
    scope      bigint NOT NULL REFERENCES mcp_memory.scopes (number),
    id         text COLLATE "C" NOT NULL,
    user_id    text,
    metadata   text,
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    -- True: made by create_session, ends when it was told to. False: begun by a message, each moves its end on.
    fixed      boolean NOT NULL,
    PRIMARY KEY (scope, id)
);
CREATE INDEX sessions_by_id ON mcp_memory.sessions (id);

-- What was deleted, for those that follow the changes.
CREATE TABLE mcp_memory.tombstones (
    scope   bigint NOT NULL REFERENCES mcp_memory.scopes (number),
    version bigint NOT NULL,
    number  bigint NOT NULL,
    PRIMARY KEY (scope, version)
);
