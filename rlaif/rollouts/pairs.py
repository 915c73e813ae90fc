"""Samples on disk, and the pairs that they make."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

from rlaif.data.preferences_io import read_samples
from rlaif.types import Comparison

SAMPLES = "samples.parquet"
"""Name of the table in the directory of a step that samples."""


def sampled_pairs(directory: Path) -> list[Comparison]:
    """All pairs of a prompt's samples; two samples with the same text are left out, as no label could prefer one.

    Args:
        directory: Of a step that left ``samples``.
    """
    return [
        Comparison(prompt=prompt, first=first, second=second)
        for prompt, samples in read_samples(directory / SAMPLES)
        for first, second in combinations(samples, 2)
        if first.trimmed != second.trimmed
    ]
