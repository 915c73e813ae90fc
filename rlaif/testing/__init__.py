"""Contract tests for plugins, and tiny models."""
