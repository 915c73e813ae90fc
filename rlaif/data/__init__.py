"""Prompts, demonstrations and labels: sources, file formats, label sets, batches."""
