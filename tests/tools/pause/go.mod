module mcp-system-tests/tools/pause

go 1.26
