"""Data sources: files and the hub."""
