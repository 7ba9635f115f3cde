-- Everything belongs to a scope: an agent of a tenant. What was there before is of the tenant "default".
-- Memories and messages become one table with one sequence of changes a scope; the search index is no longer
-- the database's but is derived from it.

DROP TRIGGER memories_inserted;
DROP TRIGGER memories_deleted;
DROP TRIGGER memories_updated;
DROP TABLE memories_fts;

CREATE TABLE scopes (
    -- The upper 23 bits of the number of each of the scope's entries.
    number     INTEGER PRIMARY KEY CHECK (number BETWEEN 1 AND 8388607),
    tenant     TEXT NOT NULL,
    agent_id   TEXT NOT NULL,
    -- Counts the changes of the scope's entries.
    version    INTEGER NOT NULL DEFAULT 0,
    -- Numbers are never given twice: the last one that was.
    last       INTEGER NOT NULL DEFAULT 0,
    written_at INTEGER NOT NULL DEFAULT 0,
    UNIQUE (tenant, agent_id)
) STRICT;

INSERT INTO scopes (number, tenant, agent_id) SELECT number, 'default', agent_id FROM agents;
INSERT INTO scopes (tenant, agent_id)
SELECT DISTINCT 'default', agent_id FROM (
    SELECT agent_id FROM sessions UNION SELECT agent_id FROM messages
) WHERE agent_id NOT IN (SELECT agent_id FROM agents);

-- A scope's entries have the numbers from (scope << 40) on, in the order in which they were stored: they lie
-- together, and the newest are read from the end.
CREATE TABLE entries (
    number          INTEGER PRIMARY KEY,
    scope           INTEGER NOT NULL REFERENCES scopes (number),
    version         INTEGER NOT NULL,
    id              TEXT NOT NULL,
    -- A message has a role, a memory has none.
    role            TEXT CHECK (role IN ('user', 'assistant', 'system', 'tool')),
    user_id         TEXT,
    session_id      TEXT,
    memory_type     TEXT NOT NULL,
    content         TEXT NOT NULL,
    context         TEXT,
    importance      REAL NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    -- Of a memory's content; its first byte alone where it has yet to be computed.
    hash            BLOB,
    idempotency_key TEXT,
    archived_at     INTEGER,
    archived_by     TEXT,
    merged_into     TEXT,
    analysis        BLOB,
    CHECK (number >> 40 = scope)
) STRICT;

INSERT INTO entries (number, scope, version, id, session_id, memory_type, content, context, importance,
                     created_at, updated_at, hash)
SELECT number, agent, 0, id, session_id, memory_type, content, context, importance, created_at, created_at, x'00'
FROM memories;

INSERT INTO entries (number, scope, version, id, role, user_id, session_id, memory_type, content, importance,
                     created_at, updated_at)
SELECT coalesce((SELECT max(number) FROM entries WHERE number BETWEEN s.number << 40 AND (s.number + 1 << 40) - 1),
                s.number << 40)
           + row_number() OVER (PARTITION BY s.number ORDER BY m.number),
       s.number, 0, m.id, m.role, m.user_id, o.id, 'message', m.message, 0.5, m.created_at, m.created_at
FROM messages AS m
JOIN scopes AS s ON s.agent_id = m.agent_id
JOIN sessions AS o ON o.number = m.session
ORDER BY m.number;

UPDATE entries SET version = ranked.version
FROM (SELECT number, row_number() OVER (PARTITION BY scope ORDER BY number) AS version FROM entries) AS ranked
WHERE ranked.number = entries.number;
UPDATE scopes SET
    version = (SELECT count(*) FROM entries WHERE scope = scopes.number),
    last = coalesce((SELECT max(number) FROM entries WHERE scope = scopes.number), number << 40),
    written_at = coalesce((SELECT max(created_at) FROM entries WHERE scope = scopes.number), 0);

CREATE UNIQUE INDEX entries_by_id ON entries (scope, id);
CREATE UNIQUE INDEX entries_by_version ON entries (scope, version);
CREATE UNIQUE INDEX entries_by_key ON entries (scope, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX entries_by_hash ON entries (scope, hash) WHERE hash IS NOT NULL;
-- Empty but right after this step.
CREATE INDEX entries_without_hash ON entries (number) WHERE hash = x'00';
CREATE INDEX entries_by_type ON entries (scope, memory_type) WHERE archived_at IS NULL;
CREATE INDEX entries_by_session ON entries (scope, session_id) WHERE session_id IS NOT NULL;
CREATE INDEX entries_archived ON entries (scope, archived_by) WHERE archived_at IS NOT NULL;

-- A session belongs to the agent that began it; another agent that spoke in it gets one of its own.
CREATE TABLE new_sessions (
    scope      INTEGER NOT NULL REFERENCES scopes (number),
    id         TEXT NOT NULL,
    user_id    TEXT,
    metadata   TEXT,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    -- 1: made by create_session, ends when it was told to. 0: begun by a message, each moves its end on.
    fixed      INTEGER NOT NULL CHECK (fixed IN (0, 1)),
    PRIMARY KEY (scope, id)
) STRICT, WITHOUT ROWID;

INSERT INTO new_sessions
SELECT s.number, o.id, o.user_id, o.metadata, o.created_at, o.expires_at, o.fixed
FROM sessions AS o JOIN scopes AS s ON s.agent_id = o.agent_id;
INSERT OR IGNORE INTO new_sessions
SELECT DISTINCT s.number, o.id, o.user_id, o.metadata, o.created_at, o.expires_at, o.fixed
FROM messages AS m JOIN sessions AS o ON o.number = m.session JOIN scopes AS s ON s.agent_id = m.agent_id;

DROP TABLE messages;
DROP TABLE sessions;
DROP TABLE memories;
DROP TABLE agents;
ALTER TABLE new_sessions RENAME TO sessions;
CREATE INDEX sessions_by_id ON sessions (id);

-- What was deleted, for those that follow the changes.
CREATE TABLE tombstones (
    scope   INTEGER NOT NULL REFERENCES scopes (number),
    version INTEGER NOT NULL,
    number  INTEGER NOT NULL,
    PRIMARY KEY (scope, version)
) STRICT, WITHOUT ROWID;

-- Little-endian 32-bit floats, of the model that made them.
CREATE TABLE vectors (
    number INTEGER PRIMARY KEY REFERENCES entries (number) ON DELETE CASCADE,
    model  TEXT NOT NULL,
    vector BLOB NOT NULL
) STRICT;
