"""Labels of several sources as one list, each with the weight that its source has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rlaif.data.repeated import PairKey
from rlaif.errors import ConfigError
from rlaif.types import Preference


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
    problems = [f"weight={weight:g}: must be a finite number from 0" for _, weight in parts if not 0 <= weight < 1e308]
    if problems:
        raise ConfigError(problems)
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
