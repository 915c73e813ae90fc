"""Training curves on disk: one JSON line for each logged optimizer step."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

CURVE = "curve.jsonl"
"""Name of the file in a training stage's directory."""

VALIDATION = "validation.jsonl"
"""Name of the file of a training's validations, in the same form."""


def read_curve(path: Path) -> list[dict[str, float]]:
    """Rows of a curve file, each with ``step`` and the metrics logged then.

    A last line without its newline was cut by a kill and does not count.

    Args:
        path: The file; without it there are no rows.
    """
    if not path.exists():
        return []
    lines = path.read_text().split("\n")[:-1]
    return [json.loads(line) for line in lines]


def cut_curve(path: Path, last_step: int) -> list[dict[str, float]]:
    """Drop the rows after a step, which a killed run wrote after its last checkpoint; the directory is made.

    Returns:
        The rows that are left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [row for row in read_curve(path) if row["step"] <= last_step]
    partial = path.with_suffix(".partial")
    partial.write_text("".join(json.dumps(row) + "\n" for row in rows))
    os.replace(partial, path)
    return rows


def append_row(path: Path, step: int, values: Mapping[str, float]) -> None:
    """Write a row: ``step``, then the values in the order of their names."""
    row = {"step": step} | {name: round(float(values[name]), 9) for name in sorted(values)}
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")
