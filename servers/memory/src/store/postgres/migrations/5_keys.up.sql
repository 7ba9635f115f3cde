-- The hash of the content that an idempotency key was used for, which its entry may have lost since. Where that happened
-- before this step, it is not known; that of a message, which never changes, is taken from its content.
ALTER TABLE mcp_memory.entries ADD COLUMN key_hash bytea;
UPDATE mcp_memory.entries SET key_hash = hash WHERE idempotency_key IS NOT NULL AND created_at = updated_at;
