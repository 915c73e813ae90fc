"""Criteria: questions about one response that are answered yes or no, and prompts that ask them or ask for them."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from rlaif.errors import ConfigError
from rlaif.prompts.forms import Forms, fill
from rlaif.tasks.base import Task
from rlaif.types import Segment, StructuredPrompt

_OPTION = "labeler.criteria"
_KEYS = {"asks": "a question that yes answers for a good response", "weight": "a number above 0"}


@dataclass(frozen=True)
class Criterion:
    """One question, and how much its answer counts."""

    asks: str
    """Yes is the better answer."""
    weight: float = 1.0
    """Above 0; the criteria's weights need no common unit."""


class LabeledPair(NamedTuple):
    """A pair that somebody judged, as it is shown to a model that writes criteria."""

    prompt_text: str
    better: str
    worse: str


class CriteriaPrompts(Forms):
    """Asks whether a response meets a criterion, and which criteria labeled pairs follow. It has no options.

    Responses, prompts, criteria and pairs are data segments: a criterion may have been written by a model.
    """

    names = ("criterion", "criteria_writing", "labeled_pair")

    def criterion(self, task: Task, prompt_text: str, response: str, criterion: str) -> StructuredPrompt:
        """Ask one question about one response; the answer is "yes" or "no"."""
        return self._fill(
            "criterion", task, prompt=task.judge_text(prompt_text), response=response, criterion=criterion
        )

    def criteria_request(self, task: Task, pairs: Sequence[LabeledPair]) -> StructuredPrompt:
        """Ask a model to write criteria, one a line, by which the better response of each pair is told."""
        shown: list[Segment] = []
        for prompt_text, better, worse in pairs:
            texts = {"prompt": task.judge_text(prompt_text), "better": better, "worse": worse}
            shown += fill("labeled_pair", task, texts)
        return self._fill("criteria_writing", task, pairs=shown)


def built_in_tasks() -> list[str]:
    """Tasks that have criteria of ours."""
    folder = files("rlaif.prompts") / "templates" / "criteria"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir())


@cache
def built_in_criteria(task_name: str) -> tuple[Criterion, ...]:
    """Our criteria of a task.

    Raises:
        ConfigError: There are none for it.
    """
    if task_name not in built_in_tasks():
        raise ConfigError(
            f"{_OPTION}=null: no criteria are built in for task {task_name!r}, only for {', '.join(built_in_tasks())}; "
            f"name a TOML file of your own, {_OPTION}=PATH"
        )
    raw = (files("rlaif.prompts") / "templates" / "criteria" / f"{task_name}.toml").read_text("utf-8")
    return _criteria(task_name, tomllib.loads(raw))


def read_criteria(path: str) -> tuple[Criterion, ...]:
    """Criteria of a TOML file: tables ``[[criterion]]`` with ``asks`` and, where it is not 1, ``weight``.

    Raises:
        ConfigError: The file cannot be read, or with every mistake in it.
    """
    try:
        return _criteria(path, tomllib.loads(Path(path).read_text("utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{_OPTION}={path}: must be a TOML file with tables [[criterion]] ({error})") from error


def _criteria(place: str, given: Mapping[str, Any]) -> tuple[Criterion, ...]:
    entries = given.get("criterion", [])
    problems = [
        f"{_OPTION}: {place} has an unknown key {key}; write [[criterion]]" for key in given if key != "criterion"
    ]
    if not isinstance(entries, list) or not entries:
        problems.append(f"{_OPTION}: {place} has no table [[criterion]]")
        entries = []
    for number, entry in enumerate(entries, start=1):
        problems += [f"{_OPTION}: {place}, criterion {number}: {wrong}" for wrong in _mistakes(entry)]
    asked = [entry["asks"].strip() for entry in entries if not _mistakes(entry)]
    problems += [f"{_OPTION}: {place} asks twice: {asks}" for asks in dict.fromkeys(asked) if asked.count(asks) > 1]
    if problems:
        raise ConfigError(problems)
    return tuple(Criterion(entry["asks"].strip(), float(entry.get("weight", 1.0))) for entry in entries)


def _mistakes(entry: object) -> list[str]:
    if not isinstance(entry, dict):
        return ["must be a table [[criterion]]"]
    wrong = [f"unknown key {key}; there are {', '.join(_KEYS)}" for key in entry if key not in _KEYS]
    if not isinstance(asks := entry.get("asks"), str) or not asks.strip():
        wrong.append(f"asks must be {_KEYS['asks']}")
    weight = entry.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
        wrong.append(f"weight={weight}: must be {_KEYS['weight']}")
    return wrong
