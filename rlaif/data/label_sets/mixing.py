"""Labels of several sources as one list, each with the weight that its source has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from rlaif.data.formats.pair_files import PairFile
from rlaif.data.held_out import conversation_start
from rlaif.data.label_sets.label_table import LabelTable, preferences_of
from rlaif.data.repeated import PairKey
from rlaif.errors import ConfigError
from rlaif.tasks.base import Task
from rlaif.types import ASSISTANT_TURN, HUMAN_TURN, Preference, Prompt, content_id


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
            comparison = label.comparison
            pair = PairKey.of(comparison.prompt.text, comparison.first.text, comparison.second.text)
            key = (pair.id, label.source)
            if key not in mixed or (mixed[key].p_first is None and label.p_first is not None):
                mixed[key] = replace(label, weight=label.weight * weight)
    return list(mixed.values()), num_rows - len(mixed)


class MixFile:
    """Labels of a further source, in a file: one entry of ``label.mix``.

    Args:
        name: Of the entry, for messages.
        path: The file, as of :class:`~rlaif.data.formats.pair_files.PairFile`.
        source: Who gave the labels.
        weight: What each label's own weight is multiplied by, at least 0.
        format: How a row reads.
        columns: Names of the columns of ``table``.
        preference: Encoding of the preference of ``table``.
        confidences: Only rows with one of these; empty takes all.

    Raises:
        ConfigError: An option is out of range.
    """

    def __init__(
        self,
        name: str,
        *,
        path: str,
        source: str,
        weight: float = 1.0,
        format: str = "table",
        columns: Mapping[str, str] | None = None,
        preference: str | Mapping[str, float] = "p_first",
        confidences: Sequence[float] = (),
    ) -> None:
        group = f"label.mix.{name}"
        if not source:
            raise ConfigError(f'{group}.source="": say who gave the labels, e.g. human')
        check_weight(f"{group}.weight", weight)
        self.name = name
        self.source = source
        self.weight = float(weight)
        self.confidences = tuple(float(confidence) for confidence in confidences)
        self.file = PairFile(path, group=group, format=format, columns=columns, preference=preference)

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


def check_weight(option: str, weight: float) -> None:
    """Refuse a weight that is no finite number from 0.

    Raises:
        ConfigError: With the option as typed.
    """
    if not 0.0 <= weight < float("inf"):
        raise ConfigError(f"{option}={weight:g}: must be a finite number from 0")


def _marks(prompt: str) -> tuple[str, str]:
    return conversation_start(prompt), HUMAN_TURN + prompt.rpartition(HUMAN_TURN)[2].removesuffix(ASSISTANT_TURN)
