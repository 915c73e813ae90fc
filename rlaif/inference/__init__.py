"""Sampling and scoring with shared prefixes."""
