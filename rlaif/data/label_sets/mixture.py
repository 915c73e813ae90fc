"""The labels that a reward model learns from: a run's own and those of ``label.mix``, each with its weight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlaif.data.label_sets.mixing import MixFile, check_weight, mix_labels
from rlaif.errors import ConfigError
from rlaif.near_miss import near_miss
from rlaif.tasks.base import Task
from rlaif.types import Preference, Prompt

KEYS = ("path", "source", "weight", "format", "columns", "preference", "confidences")
NEEDED = ("path", "source")


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedLabels:
    """Labels of all sources."""

    labels: list[Preference]
    """Each with the weight that it counts."""
    account: Mapping[str, Any]
    """``labels`` and ``weight`` by source, and how many pairs were left out as ``held_out`` and ``repeated``."""


class Mixture:
    """The sources of a reward model's labels.

    Args:
        weight: What the run's own labels count, at least 0 (``label.weight``).
        files: Further labels by name: ``{people: {path: votes.csv, source: human, weight: 2}}`` (``label.mix``).

    Raises:
        ConfigError: With every problem of every entry.
    """

    def __init__(self, weight: float = 1.0, files: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        problems: list[str] = []
        self.weight = float(weight)
        self.files: list[MixFile] = []
        if files is not None and not isinstance(files, Mapping):
            raise ConfigError(f"label.mix={files}: must be null or {{name: {{path: …, source: …}}}}")
        for name, options in (files or {}).items():
            found = _entry_problems(str(name), options)
            try:
                self.files += [] if found else [MixFile(str(name), **options)]
            except ConfigError as error:
                found = error.problems
            problems += found
        try:
            check_weight("label.weight", weight)
        except ConfigError as error:
            problems += error.problems
        if problems:
            raise ConfigError(problems)

    @property
    def changes_nothing(self) -> bool:
        """True where the run's own labels stand alone, with weight 1."""
        return not self.files and self.weight == 1.0

    @property
    def identity(self) -> Mapping[str, object]:
        """Weights, and contents of the files.

        Raises:
            DataError: A file cannot be read.
        """
        return {"weight": self.weight, "files": {file.name: file.identity for file in self.files}}

    def mix(self, labels: Sequence[Preference], task: Task, held_out: Iterable[Prompt]) -> MixedLabels:
        """Put the labels of all sources together.

        Args:
            labels: The run's own.
            task: What the texts are.
            held_out: Prompts whose pairs are left out of the files.

        Raises:
            DataError: A file cannot be read.
        """
        parts: list[tuple[Sequence[Preference], float]] = [(labels, self.weight)]
        held_out, num_held_out = list(held_out), 0
        for file in self.files:
            further, num = file.read(task, held_out)
            num_held_out += num
            parts.append((further, file.weight))
        mixed, num_repeated = mix_labels(parts)
        account = {
            "labels": dict(Counter(label.source for label in mixed if label.p_first is not None)),
            "weight": {source: _weight_of(mixed, source) for source in sorted({label.source for label in mixed})},
            "held_out": num_held_out,
            "repeated": num_repeated,
        }
        return MixedLabels(labels=mixed, account=account)


def _weight_of(labels: Sequence[Preference], source: str) -> float:
    return sum(label.weight for label in labels if label.source == source and label.p_first is not None)


def _entry_problems(name: str, options: object) -> list[str]:
    option = f"label.mix.{name}"
    if not isinstance(options, Mapping):
        return [f"{option}={options}: must be a dictionary with {', '.join(NEEDED)}"]
    unknown = [str(key) for key in options if key not in KEYS]
    problems = [f"{option}.{key}: there is no such key; {_hint(key)}" for key in unknown]
    return problems + [f"{option}.{key}: needs a value" for key in NEEDED if not options.get(key)]


def _hint(key: str) -> str:
    near = near_miss(key, KEYS)
    return f"did you mean {near}?" if near else f"there are {', '.join(KEYS)}"
