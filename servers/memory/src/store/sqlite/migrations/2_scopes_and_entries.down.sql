-- Back to memories and messages in tables of their own. Agents of other tenants than "default" become agents
-- called "TENANT/AGENT"; what was put away comes back; keys, versions, analyses and vectors go. A session that
-- two agents share by name becomes two, the second called "SESSION (AGENT)".

CREATE TABLE agents (
    number   INTEGER PRIMARY KEY CHECK (number BETWEEN 1 AND 8388607),
    agent_id TEXT NOT NULL UNIQUE
) STRICT;
INSERT INTO agents (number, agent_id)
SELECT number, CASE WHEN tenant = 'default' THEN agent_id ELSE tenant || '/' || agent_id END FROM scopes;

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
INSERT INTO memories
SELECT number,
       CASE WHEN row_number() OVER (PARTITION BY id ORDER BY number) = 1 THEN id ELSE id || '/' || scope END,
       scope, session_id, memory_type, content, context, importance, created_at
FROM entries WHERE role IS NULL;
CREATE INDEX memories_of_type ON memories (agent, memory_type);

CREATE TABLE old_sessions (
    number     INTEGER PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    agent_id   TEXT NOT NULL,
    user_id    TEXT,
    metadata   TEXT,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    fixed      INTEGER NOT NULL CHECK (fixed IN (0, 1))
) STRICT;
CREATE TABLE session_places (scope INTEGER NOT NULL, id TEXT NOT NULL, number INTEGER NOT NULL) STRICT;
INSERT INTO session_places SELECT scope, id, row_number() OVER (ORDER BY created_at, scope, id) FROM sessions;
INSERT INTO old_sessions
SELECT p.number,
       CASE WHEN row_number() OVER (PARTITION BY s.id ORDER BY p.number) = 1 THEN s.id
            ELSE s.id || ' (' || a.agent_id || ')' END,
       a.agent_id, s.user_id, s.metadata, s.created_at, s.expires_at, s.fixed
FROM sessions AS s
JOIN session_places AS p ON p.scope = s.scope AND p.id = s.id
JOIN agents AS a ON a.number = s.scope;

CREATE TABLE messages (
    number     INTEGER PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    session    INTEGER NOT NULL REFERENCES old_sessions (number),
    agent_id   TEXT NOT NULL,
    user_id    TEXT,
    role       TEXT NOT NULL CHECK (role IN ('user', 'assistant', 'system', 'tool')),
    message    TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
INSERT INTO messages
SELECT row_number() OVER (ORDER BY e.created_at, e.number),
       CASE WHEN row_number() OVER (PARTITION BY e.id ORDER BY e.number) = 1 THEN e.id
            ELSE e.id || '/' || e.scope END,
       p.number, a.agent_id, e.user_id, e.role, e.content, e.created_at
FROM entries AS e
JOIN session_places AS p ON p.scope = e.scope AND p.id = e.session_id
JOIN agents AS a ON a.number = e.scope
WHERE e.role IS NOT NULL;

DROP TABLE session_places;
DROP TABLE vectors;
DROP TABLE tombstones;
DROP TABLE sessions;
DROP TABLE entries;
DROP TABLE scopes;
ALTER TABLE old_sessions RENAME TO sessions;
CREATE INDEX sessions_of_agent ON sessions (agent_id, expires_at);
CREATE INDEX messages_of_session ON messages (session);
CREATE INDEX messages_of_agent ON messages (agent_id, session);

CREATE VIRTUAL TABLE memories_fts USING fts5 (
    content,
    context,
    content = 'memories',
    content_rowid = 'number',
    tokenize = 'porter unicode61 remove_diacritics 2'
);
INSERT INTO memories_fts (memories_fts) VALUES ('rebuild');

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
