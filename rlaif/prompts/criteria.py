"""Criteria: questions about one response that are answered yes or no, and prompts that ask them or ask for them."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from rlaif.errors import ConfigError
from rlaif.prompts.forms import Forms, fill
from rlaif.tasks.base import Task
from rlaif.types import Segment, StructuredPrompt, Turn, turns_in

_OPTION = "labeler.criteria"
CRITERIA_FILE = "criteria.toml"
"""What a step ``rubric`` writes."""
MOST_WEIGHT = 1_000_000
"""Weights are relative, and their sum must stay a number."""
_KEYS = {
    "asks": "a question that yes answers for a good response",
    "weight": f"a number above 0 and at most {MOST_WEIGHT:,}",
    "prompt": "the text of the one prompt that it is for",
}


@dataclass(frozen=True)
class Criterion:
    """One question, and how much its answer counts."""

    asks: str
    """Yes is the better answer."""
    weight: float = 1.0
    """Above 0; the criteria's weights need no common unit."""
    prompt: str | None = None
    """Text of the one prompt whose responses it judges; None judges those of all prompts."""


class Rubric:
    """The criteria of a file or a task: those of all prompts, and those of single ones.

    Args:
        criteria: In order.
    """

    def __init__(self, criteria: Sequence[Criterion]) -> None:
        self.criteria = tuple(criteria)
        self.common = tuple(criterion for criterion in criteria if criterion.prompt is None)
        self._of_prompt: dict[tuple[Turn, ...], list[Criterion]] = {}
        for criterion in criteria:
            if criterion.prompt is not None:
                self._of_prompt.setdefault(_key(criterion.prompt), []).append(criterion)

    def of(self, prompt_text: str) -> tuple[Criterion, ...]:
        """The criteria of one prompt, those of all prompts first; empty where there are none."""
        return (*self.common, *self._of_prompt.get(_key(prompt_text), ()))


def _key(prompt_text: str) -> tuple[Turn, ...]:
    """Of a prompt: a dialogue of one turn and the text of that turn are the same."""
    return tuple(Turn(turn.role, turn.text.strip()) for turn in turns_in(prompt_text))


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
    """Criteria of a file: TOML with tables ``[[criterion]]``, or JSON lines with one criterion each (``.jsonl``).

    A directory stands for the file that a step ``rubric`` has written there. A criterion has ``asks`` and, where it is
    not 1, ``weight``; with ``prompt`` it is for this prompt alone.

    Raises:
        ConfigError: The file cannot be read, or with every mistake in it.
    """
    is_lines = path.endswith(".jsonl")
    try:
        file = Path(path).expanduser()
        text = (file / CRITERIA_FILE if file.is_dir() else file).read_text("utf-8-sig")
        given = _lines(text) if is_lines else tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        wanted = "JSON lines with asks" if is_lines else "a TOML file with tables [[criterion]]"
        raise ConfigError(f"{_OPTION}={path}: must be {wanted} ({error})") from error
    return _criteria(path, given)


def written_criteria(criteria: Sequence[Criterion], comment: str) -> str:
    """The text of a TOML file that :func:`read_criteria` reads.

    Args:
        criteria: What is written.
        comment: One line at the top.
    """
    tables = [f"[[criterion]]\nasks = {_toml(item.asks)}\nweight = {item.weight!r}" for item in criteria]
    return "\n\n".join([f"# {comment}", *tables]) + "\n"


def _toml(text: str) -> str:
    """A basic string of TOML, which is one of JSON but for the character DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _lines(text: str) -> dict[str, Any]:
    """JSON lines as the tables of a TOML file."""
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):  # not at U+2028, which JSON may hold
        try:
            rows += [json.loads(line)] if line.strip() else []
        except json.JSONDecodeError as error:
            raise ValueError(f"line {number}: {error}") from error
    return {"criterion": rows}


def _criteria(place: str, given: Mapping[str, Any]) -> tuple[Criterion, ...]:
    entries = given.get("criterion", [])
    problems = [
        f"{_OPTION}: {place} has an unknown key {key}; write [[criterion]]" for key in given if key != "criterion"
    ]
    if not isinstance(entries, list) or not entries:
        unit = "line" if place.endswith(".jsonl") else "table [[criterion]]"
        problems.append(f"{_OPTION}: {place} has no {unit}")
        entries = []
    for number, entry in enumerate(entries, start=1):
        problems += [f"{_OPTION}: {place}, criterion {number}: {wrong}" for wrong in _mistakes(entry)]
    found = [_criterion(entry) for entry in entries if not _mistakes(entry)]
    asked = Counter(map(_question, found))
    first = {_question(item): item.asks for item in reversed(found)}
    problems += [f"{_OPTION}: {place} asks twice: {first[question]}" for question, n in asked.items() if n > 1]
    if problems:
        raise ConfigError(problems)
    return tuple(found)


def _question(criterion: Criterion) -> tuple[str, tuple[Turn, ...] | None]:
    """What a criterion asks about which prompt; spaces and capitals make no other question."""
    prompt = None if criterion.prompt is None else _key(criterion.prompt)
    return " ".join(criterion.asks.split()).casefold(), prompt


def _criterion(entry: Mapping[str, Any]) -> Criterion:
    return Criterion(entry["asks"].strip(), float(entry.get("weight", 1.0)), entry.get("prompt"))


def _mistakes(entry: object) -> list[str]:
    if not isinstance(entry, dict):
        return ["must be a table [[criterion]]"]
    wrong = [f"unknown key {key}; there are {', '.join(_KEYS)}" for key in entry if key not in _KEYS]
    if not isinstance(asks := entry.get("asks"), str) or not asks.strip():
        wrong.append(f"asks must be {_KEYS['asks']}")
    weight = entry.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= MOST_WEIGHT:
        wrong.append(f"weight={str(weight)[:40]}: must be {_KEYS['weight']}")
    prompt = entry.get("prompt")
    if prompt is not None and (not isinstance(prompt, str) or not prompt.strip()):
        wrong.append(f"prompt must be {_KEYS['prompt']}")
    return wrong
