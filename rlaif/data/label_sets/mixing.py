"""Labels of several sources as one list, each with the weight that its source has."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rlaif.data.files.paths import Typed
from rlaif.data.formats.pair_files import PairFile, ReadingOptions
from rlaif.data.held_out import conversation_start
from rlaif.data.label_sets.label_table import LabelTable, preferences_of
from rlaif.data.repeated import PairKey, plain
from rlaif.errors import ConfigError, DataError
from rlaif.runtime import Runtime
from rlaif.tasks.base import Task
from rlaif.types import ASSISTANT_TURN, HUMAN_TURN, Preference, Prompt, content_id

_READING = ("format", "columns", "preference", "where", "pairing", "score_temperature", "encoding", "accept")
_KEYS = ("path", "source", "weight", *_READING, "confidences")
_NEEDED = ("path", "source")


def mix_labels(parts: Sequence[tuple[Sequence[Preference], float]]) -> tuple[list[Preference], int]:
    """Put labels together; every label's own weight is multiplied by that of its part.

    A pair that two sources label has two rows: in a cross-entropy they count like one row with the weighted
    mean of both labels and the sum of the weights. A pair that one source labels twice, in either order,
    keeps its first label.

    Args:
        parts: Labels, and a finite weight of at least 0.

    Returns:
        The labels, part after part, and how many were left out as repeated.

    Raises:
        ConfigError: A weight is out of range.
    """
    for _, weight in parts:
        check_weight("weight", weight)
    mixed: dict[tuple[str, str], Preference] = {}
    num_rows = 0
    for labels, weight in parts:
        num_rows += len(labels)
        for label in labels:
            key = (PairKey.of_comparison(label.comparison).id, label.source)
            if key not in mixed or (mixed[key].p_first is None and label.p_first is not None):
                mixed[key] = replace(label, weight=label.weight * weight)
    return list(mixed.values()), num_rows - len(mixed)


class MixSettings:
    """The options ``label.mix`` and ``label.weight``: further labels to learn from besides a run's own.

    Args:
        files: By name what :class:`MixFile` takes, with ``path`` and ``source`` at least; None mixes nothing.
        weight: What the weights of the run's own labels are multiplied by, a finite number from 0.

    Raises:
        ConfigError: With every problem of every entry.
    """

    def __init__(
        self, files: Runtime[Mapping[str, Mapping[str, object]] | None] = None, *, weight: float = 1.0
    ) -> None:
        if files is not None and not isinstance(files, Mapping):
            raise ConfigError(f"label.mix={files}: must be null or {{name: {{path: …, source: …}}}}")
        problems: list[str] = []
        self.files: list[MixFile] = []
        for name, options in (files or {}).items():
            try:
                self.files.append(_mix_file(str(name), options))
            except ConfigError as error:
                problems += error.problems
        try:
            check_weight("label.weight", weight)
        except ConfigError as error:
            problems += error.problems
        if problems:
            raise ConfigError(problems)
        self.weight = float(weight)

    @property
    def changes_nothing(self) -> bool:
        """True where the run's own labels are taken as they are."""
        return not self.files and self.weight == 1.0

    @property
    def identity(self) -> str:
        """Hash of what the mixture depends on besides the run's own labels: contents of the files, and weights.

        Raises:
            DataError: A file cannot be read.
        """
        files = (part for file in self.files for part in (file.name, file.identity))
        return "" if self.changes_nothing else content_id(repr(self.weight), *files)

    def problems(self) -> Iterator[str]:
        """What is wrong with the files, told before anything is trained: each is read to its end."""
        for file in self.files:
            try:
                LabelTable(file.file, confidences=file.confidences)
            except DataError as error:
                yield str(error)

    def mixed(self, labels: list[Preference], task: Task, held_out: Iterable[Prompt]) -> MixedLabels:
        """A run's labels and those of the files, with their weights.

        Args:
            labels: The run's own.
            task: What the texts of the files are.
            held_out: Prompts of the evaluation, whose pairs are left out of the files.

        Raises:
            DataError: A file cannot be read.
        """
        if self.changes_nothing:
            return MixedLabels(labels=labels)
        prompts = list(held_out)
        read = [file.read(task, prompts) for file in self.files]
        weights = [self.weight, *(file.weight for file in self.files)]
        mixed, num_repeated = mix_labels(list(zip([labels, *(kept for kept, _ in read)], weights, strict=True)))
        return MixedLabels(
            labels=mixed, num_held_out=sum(num for _, num in read), num_repeated=num_repeated, mixed=True
        )


@dataclass(frozen=True, kw_only=True)
class MixedLabels:
    """Labels that a reward model, DPO or IPO learns from."""

    labels: list[Preference]
    num_held_out: int = 0
    """Pairs of the files that were left out, as they are of held-out prompts."""
    num_repeated: int = 0
    """Rows that were left out, as the same source had labeled the pair before."""
    mixed: bool = False
    """False where these are the run's own labels as they are."""

    def account(self) -> dict[str, object]:
        """Labels and weights by source, as plain values; empty where nothing was mixed."""
        if not self.mixed:
            return {}
        present = [label for label in self.labels if label.p_first is not None]
        sources = sorted({label.source for label in self.labels})
        return {
            "labels": dict(Counter(label.source for label in present)),
            "weight": {name: sum(label.weight for label in present if label.source == name) for name in sources},
            "held_out": self.num_held_out,
            "repeated": self.num_repeated,
        }


class MixFile:
    """Labels of a further source, in a file: one entry of ``label.mix``.

    Args:
        name: Of the entry, for messages.
        path: The file, as of :class:`~rlaif.data.formats.pair_files.PairFile`.
        source: Who gave the labels.
        weight: What each label's own weight is multiplied by, at least 0.
        confidences: Only rows with one of these; empty takes all.
        reading: How a row reads: fields of :class:`~rlaif.data.formats.pair_files.ReadingOptions`.

    Raises:
        ConfigError: An option is out of range.
    """

    def __init__(
        self,
        name: str,
        *,
        path: Typed,
        source: str,
        weight: float = 1.0,
        confidences: Sequence[float] = (),
        **reading: Any,
    ) -> None:
        group = f"label.mix.{name}"
        if not source:
            raise ConfigError(f'{group}.source="": say who gave the labels, e.g. human')
        check_weight(f"{group}.weight", weight)
        self.name = name
        self.source = source
        self.weight = float(weight)
        self.confidences = tuple(float(confidence) for confidence in confidences)
        self.file = PairFile(path, ReadingOptions(group=group, **reading))

    @property
    def identity(self) -> str:
        """Hash of the content, how it is read and what it counts.

        Raises:
            DataError: The file cannot be read.
        """
        return content_id(self.file.identity, self.source, str(self.weight), str(self.confidences))

    def read(self, task: Task, held_out: Iterable[Prompt]) -> tuple[list[Preference], int]:
        """The labels, without those of held-out prompts.

        Args:
            task: What the texts are.
            held_out: Prompts of the evaluation. A pair is left out when its conversation begins as one of
                these does, or ends with the same turn (a long prompt has lost its first turns).

        Returns:
            Labels with their own weights, and how many pairs were left out as held out.
        """
        marks = {mark for prompt in held_out for mark in _marks(prompt.text)}
        table = LabelTable(self.file, confidences=self.confidences, keep_pairs=True)
        labels = preferences_of(table, task, self.source)
        kept = [label for label in labels if marks.isdisjoint(_marks(label.comparison.prompt.text))]
        return kept, len(labels) - len(kept)


def _mix_file(name: str, options: object) -> MixFile:
    """One entry of ``label.mix``.

    Raises:
        ConfigError: With every problem of the entry.
    """
    option = f"label.mix.{name}"
    if not isinstance(options, Mapping):
        raise ConfigError(f"{option}={options}: must be a dictionary with {', '.join(_NEEDED)}")
    problems = [f"{option}.{key}: there is no such key; {_hint(str(key))}" for key in options if str(key) not in _KEYS]
    problems += [f"{option}.{key}: needs a value" for key in _NEEDED if not options.get(key)]
    if problems:
        raise ConfigError(problems)
    return MixFile(name, **options)


def _hint(key: str) -> str:
    near = difflib.get_close_matches(key, _KEYS, n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(_KEYS)}"


def check_weight(option: str, weight: float) -> None:
    """Refuse a weight that is no finite number from 0.

    Raises:
        ConfigError: With the option as typed.
    """
    if not 0.0 <= weight < float("inf"):
        raise ConfigError(f"{option}={weight:g}: must be a finite number from 0")


def _marks(prompt: str) -> tuple[str, str]:
    last = prompt.rpartition(HUMAN_TURN)[2].removesuffix(ASSISTANT_TURN)
    return plain(conversation_start(prompt)), plain(HUMAN_TURN + last)
