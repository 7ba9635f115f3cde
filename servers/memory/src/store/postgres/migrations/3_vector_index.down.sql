DROP TRIGGER vector_deleted ON mcp_memory.vectors;
DROP TRIGGER vector_of_another_model ON mcp_memory.vectors;
DROP FUNCTION mcp_memory.vector_goes();
DROP TABLE mcp_memory.vectors_gone;
DROP TABLE mcp_memory.vector_index;
ALTER TABLE mcp_memory.vectors DROP COLUMN told;
