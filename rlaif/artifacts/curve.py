"""Training curves on disk: one JSON line for each logged optimizer step."""

from __future__ import annotations

import json
from pathlib import Path

CURVE = "curve.jsonl"
"""Name of the file in a training stage's directory."""


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
