ALTER TABLE entries DROP COLUMN key_hash;
