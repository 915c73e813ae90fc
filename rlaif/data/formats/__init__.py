"""One layout of a file per module."""
