-- Times are microseconds since 1970 in UTC; contexts and metadata are JSON objects as text.

CREATE TABLE agents (
    -- The upper 23 bits of the number of each of the agent's memories.
    number   INTEGER PRIMARY KEY CHECK (number BETWEEN 1 AND 8388607),
    agent_id TEXT NOT NULL UNIQUE
) STRICT;

-- An agent's memories have the numbers from (agent << 40) on, in the order in which they were stored.
-- So they lie together, the newest are read from the end, and the full-text index, which knows nothing
-- but numbers, reads the range of one agent and never looks at the memories of another.
CREATE TABLE memories (
    number      INTEGER PRIMARY KEY,
    id          TEXT NOT NULL UNIQUE,
    agent       INTEGER NOT NULL REFERENCES agents (number),
    session_id  TEXT,
    memory_type TEXT NOT NULL,
    content     TEXT NOT NULL,
    context     TEXT,
    importance  REAL NOT NULL,
    created_at  INTEGER NOT NULL,
    CHECK (number >> 40 = agent)
) STRICT;

-- For the newest memories of one type, and for counting.
CREATE INDEX memories_of_type ON memories (agent, memory_type);

-- The words live in `memories` alone; the index refers to them.
CREATE VIRTUAL TABLE memories_fts USING fts5 (
    content,
    context,
    content = 'memories',
    content_rowid = 'number',
    tokenize = 'porter unicode61 remove_diacritics 2'
);

CREATE TRIGGER memories_inserted AFTER INSERT ON memories BEGIN
    INSERT INTO memories_fts (rowid, content, context) VALUES (new.number, new.content, new.context);
END;

CREATE TRIGGER memories_deleted AFTER DELETE ON memories BEGIN
    INSERT INTO memories_fts (memories_fts, rowid, content, context)
    VALUES ('delete', old.number, old.content, old.context);
END;

CREATE TRIGGER memories_updated AFTER UPDATE OF number, content, context ON memories BEGIN
    INSERT INTO memories_fts (memories_fts, rowid, content, context)
    VALUES ('delete', old.number, old.content, old.context);
    INSERT INTO memories_fts (rowid, content, context) VALUES (new.number, new.content, new.context);
END;

CREATE TABLE sessions (
    number     INTEGER PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    agent_id   TEXT NOT NULL,
    user_id    TEXT,
    metadata   TEXT,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    -- 1: made by create_session, ends when it was told to. 0: begun by a message, each moves its end on.
    fixed      INTEGER NOT NULL CHECK (fixed IN (0, 1))
) STRICT;

CREATE INDEX sessions_of_agent ON sessions (agent_id, expires_at);

CREATE TABLE messages (
    number     INTEGER PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    session    INTEGER NOT NULL REFERENCES sessions (number),
    agent_id   TEXT NOT NULL,
    user_id    TEXT,
    role       TEXT NOT NULL CHECK (role IN ('user', 'assistant', 'system', 'tool')),
    message    TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE INDEX messages_of_session ON messages (session);
CREATE INDEX messages_of_agent ON messages (agent_id, session);
