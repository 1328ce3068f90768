"""The embedded assistant: gathers facts, retrieves knowledge, writes, checks, records."""
