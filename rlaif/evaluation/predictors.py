"""Which figure of a labeler goes with the figure of its policy: rank correlations over labelers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rlaif.functional.correlation import rank_correlation
from rlaif.functional.statistics import Estimate

Source = tuple[str, str]
"""Kind of file (``report``, ``scorecard``) and name of a figure in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelerMeans:
    """One labeler's figures, each the mean over the seeds that have it."""

    name: str
    outcome: float
    """The figure of the policy that learned from its labels."""
    figures: Mapping[Source, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictor:
    """One figure against that of the policy."""

    source: Source
    correlation: Estimate
    """Spearman's; ``n`` counts labelers."""
    values: Mapping[str, tuple[float, float]]
    """Labeler to its figure and its policy's."""
    missing: int
    """Labelers without this figure."""


def rank_predictors(
    labelers: Sequence[LabelerMeans], sources: Sequence[Source], *, confidence: float = 0.95
) -> list[Predictor]:
    """Rank correlation of each figure with the policy's over labelers, in the order of the figures.

    The unit is the labeler: more seeds make the means more exact, and more labelers the correlation.

    Args:
        labelers: Of one task and the same training.
        sources: The figures.
        confidence: Coverage of the intervals.
    """
    found = []
    for source in sources:
        have = [labeler for labeler in labelers if source in labeler.figures]
        values = {labeler.name: (labeler.figures[source], labeler.outcome) for labeler in have}
        correlation = rank_correlation(
            [figure for figure, _ in values.values()],
            [outcome for _, outcome in values.values()],
            confidence=confidence,
        )
        missing = len(labelers) - len(have)
        found.append(Predictor(source=source, correlation=correlation, values=values, missing=missing))
    return found
