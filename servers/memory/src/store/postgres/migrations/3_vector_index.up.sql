-- Vectors may have their index outside of the database, in Weaviate. What it holds is told by these: a vector that it was
-- not told of yet, and one that it has to forget.

ALTER TABLE mcp_memory.vectors ADD COLUMN told boolean NOT NULL DEFAULT false;
CREATE INDEX vectors_untold ON mcp_memory.vectors (number) WHERE NOT told;

-- One row: the name of this database towards what indexes it.
CREATE TABLE mcp_memory.vector_index (id uuid NOT NULL DEFAULT gen_random_uuid());
INSERT INTO mcp_memory.vector_index DEFAULT VALUES;

CREATE TABLE mcp_memory.vectors_gone (
    number bigint NOT NULL,
    model  text COLLATE "C" NOT NULL,
    length integer NOT NULL
);

-- What was never told of need not be forgotten.
CREATE FUNCTION mcp_memory.vector_goes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO mcp_memory.vectors_gone VALUES (OLD.number, OLD.model, vector_dims(OLD.vector));
    RETURN NULL;
END $$;
CREATE TRIGGER vector_deleted AFTER DELETE ON mcp_memory.vectors
    FOR EACH ROW WHEN (OLD.told) EXECUTE FUNCTION mcp_memory.vector_goes();
CREATE TRIGGER vector_of_another_model AFTER UPDATE ON mcp_memory.vectors
    FOR EACH ROW WHEN (OLD.told AND OLD.model <> NEW.model) EXECUTE FUNCTION mcp_memory.vector_goes();
