"""Demonstrations that a step writes, and that SFT reads in the place of the data's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rlaif.pipeline.stage import Work
from rlaif.types import Demonstration, Prompt, Turn

DEMONSTRATIONS = "demonstrations.jsonl"
"""In the directory of a step that writes some: one JSON object a line."""


def demonstrations_of(work: Work) -> Sequence[Demonstration]:
    """The demonstrations that a step reads: the data's, or those that an earlier step has written."""
    if work.input("demonstrations").data is not None:
        return work.data("demonstrations").demonstrations
    return _written(work.path("demonstrations"))


def references_of(work: Work) -> Sequence[Demonstration]:
    """A teacher's responses that a step reads: the data's, or those that an earlier step has written."""
    return work.data("teacher").references if work.input("teacher").data is not None else _written(work.path("teacher"))


def _written(directory: Path) -> list[Demonstration]:
    lines = (directory / DEMONSTRATIONS).read_text("utf-8").split("\n")[:-1]
    return [_demonstration(json.loads(line)) for line in lines]


def write_demonstrations(directory: Path, demonstrations: Sequence[Demonstration]) -> None:
    """Write what :func:`demonstrations_of` reads."""
    lines = (json.dumps(asdict(item), sort_keys=True) + "\n" for item in demonstrations)
    (directory / DEMONSTRATIONS).write_text("".join(lines), "utf-8")


def _demonstration(row: dict[str, Any]) -> Demonstration:
    turns = tuple(Turn(**turn) for turn in row["prompt"]["turns"])
    return Demonstration(prompt=Prompt(**{**row["prompt"], "turns": turns}), response=row["response"])
