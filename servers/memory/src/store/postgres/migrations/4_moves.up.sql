-- What was moved here, by the checksum that a backup of all of it has: should it be moved once more, what is missing was
-- deleted here since.

CREATE TABLE mcp_memory.moves (
    sha256   text COLLATE "C" PRIMARY KEY,
    moved_at timestamptz NOT NULL DEFAULT now()
);
