"""Presentation of runs: pages, terminal, plots, tables."""
