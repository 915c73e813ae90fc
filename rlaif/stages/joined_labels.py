"""Labels of several steps as one set: people's and a model's, for one reward model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from rlaif.data.preferences_io import write_preferences
from rlaif.labeling.results import LABELS, read_labels
from rlaif.pipeline.stage import Stage, Told, Work
from rlaif.roles import Reads
from rlaif.types import Preference

COUNTS = "counts.json"
"""Labels by step, and those that were left out."""


class JoinedLabelStage(Stage):
    """Puts the labels of earlier steps together (arXiv 2309.00267, appendix K: RLHF and RLAIF combined).

    Args:
        equal_sizes: True takes of each further set as many labels as the first has, drawn by the texts of their pairs;
            False takes all.
    """

    def __init__(self, equal_sizes: bool = True) -> None:
        self.equal_sizes = equal_sizes

    @property
    def needs_models(self) -> bool:
        """It asks nobody."""
        return False

    def reads(self) -> Mapping[str, Reads]:
        """All earlier labels, or those that ``from`` lists."""
        return {"labels": Reads(kind="labels", many=True)}

    def leaves(self) -> frozenset[str]:
        """Labels to learn from."""
        return frozenset({"labels"})

    def build(self, work: Work) -> None:
        """Read, draw and write."""
        sets = {step: read_labels(path) for step, path in work.paths("labels").items()}
        kept = self._kept(list(sets.values()))
        write_preferences(work.directory / LABELS, [label for part in kept for label in part])
        counts = {
            step: {"labels": len(part), "left_out": len(labels) - len(part)}
            for (step, labels), part in zip(sets.items(), kept, strict=True)
        }
        (work.directory / COUNTS).write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")

    def _kept(self, sets: Sequence[Sequence[Preference]]) -> list[Sequence[Preference]]:
        if not self.equal_sizes:
            return list(sets)
        size = sum(label.p_first is not None for label in sets[0])
        return [sets[0], *(drawn_labels(labels, size) for labels in sets[1:])]

    def told(self, work: Work) -> Told:
        """How many labels of each step."""
        counts = json.loads((work.directory / COUNTS).read_text(encoding="utf-8"))
        words = [f"{row['labels']:,} of {step}" + _left_out(row["left_out"]) for step, row in counts.items()]
        return Told(line=" and ".join(words), link=work.step)


def drawn_labels(labels: Sequence[Preference], size: int) -> list[Preference]:
    """At most so many of the labels that are not missing, in their order, chosen by the texts of their pairs alone."""
    judged = [label for label in labels if label.p_first is not None]
    chosen = {id(label) for label in sorted(judged, key=lambda label: label.comparison.id)[:size]}
    return [label for label in judged if id(label) in chosen]


def _left_out(count: int) -> str:
    return f" ({count:,} left out)" if count else ""
