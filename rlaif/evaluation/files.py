"""Figures and reliability diagrams as JSON files in a stage's directory."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from rlaif.evaluation.records import ReliabilityBin, ReliabilityDiagram
from rlaif.types import Figure

FIGURES, RELIABILITY = "figures.json", "reliability.json"


def write_figures(directory: Path, figures: Iterable[Figure]) -> None:
    """Write ``figures.json``."""
    _write(directory / FIGURES, [asdict(figure) for figure in figures])


def read_figures(directory: Path) -> list[Figure]:
    """Read ``figures.json``."""
    return [Figure(**record) for record in json.loads((directory / FIGURES).read_text())]


def write_diagrams(directory: Path, diagrams: Iterable[ReliabilityDiagram]) -> None:
    """Write ``reliability.json``; a diagram without bins is left out."""
    _write(directory / RELIABILITY, [asdict(diagram) for diagram in diagrams if diagram.bins])


def read_diagrams(directory: Path) -> list[ReliabilityDiagram]:
    """Read ``reliability.json``."""
    records = json.loads((directory / RELIABILITY).read_text())
    return [
        ReliabilityDiagram(
            title=record["title"],
            judged_by=record["judged_by"],
            bins=tuple(ReliabilityBin(**item) for item in record["bins"]),
        )
        for record in records
    ]


def _write(path: Path, records: list[dict[str, object]]) -> None:
    path.write_text(json.dumps(records, indent=1, sort_keys=True) + "\n")
