"""Labelers: comparisons in, soft labels out."""
