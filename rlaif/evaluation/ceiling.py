"""The highest alignment that a labeler can reach with raters whose exact probabilities are known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import compress

import torch

from rlaif.evaluation.alignment import alignment_figures, label_figures
from rlaif.evaluation.estimates import column, figure
from rlaif.evaluation.votes import Votes
from rlaif.functional.agreement import agreement_scores
from rlaif.functional.paired import paired_difference
from rlaif.functional.statistics import clustered_mean
from rlaif.types import Comparison, Figure, Preference


def rater_figures(
    pairs: Sequence[Comparison], votes: Votes, second: Sequence[float], exact: Sequence[float], judge: str
) -> list[Figure]:
    """The agreement of two raters, and that of a perfect labeler with one of them.

    Args:
        pairs: What was judged.
        votes: The verdicts of one rater.
        second: The verdicts of another rater.
        exact: The probability that a rater prefers the first candidate.
        judge: Name of the raters, in words.
    """
    perfect = [float(p > 0.5) for p in exact]
    prompts = [item.prompt.id for item in pairs]
    ceiling = clustered_mean([max(p, 1 - p) for p in exact], prompts)
    agreement = clustered_mean([p * p + (1 - p) * (1 - p) for p in exact], prompts)
    return [
        *alignment_figures(pairs, second, votes, judge, name="raters/agreement")[:1],
        *alignment_figures(pairs, perfect, votes, judge, name="raters/perfect labeler against rater 0")[:1],
        *figure("raters/ceiling", ceiling, "expected, exact probabilities"),
        *figure("raters/expected agreement", agreement, "exact probabilities"),
    ]


def against_rater_figures(
    name: str, labels: Sequence[Preference], votes: Votes, exact: Sequence[float], judge: str
) -> list[Figure]:
    """Alignment with one rater, its share of the ceiling, same-slot answers and missing labels.

    Args:
        name: The labeler in words, the group of the figures.
        labels: The labeler's, missing ones included.
        votes: The rater's verdicts on the same pairs.
        exact: The probability that a rater prefers the first candidate.
        judge: Name of the rater, in words.
    """
    pairs, p_first = [label.comparison for label in labels], [label.p_first for label in labels]
    aligned = alignment_figures(pairs, p_first, votes, judge, name=f"{name}/alignment")
    shares = [_share_of_ceiling(item, labels, exact) for item in aligned]
    return [*aligned, *shares, *label_figures(labels, group=name)]


def _share_of_ceiling(alignment: Figure, labels: Sequence[Preference], exact: Sequence[float]) -> Figure:
    """(alignment - 50 %) / (ceiling - 50 %), on the pairs that the alignment is on."""
    stratum = alignment.name.partition("/alignment/")[2]
    part = [
        p
        for label, p in zip(labels, exact, strict=True)
        if label.p_first is not None and stratum in ("", label.comparison.prompt.stratum)
    ]
    ceiling = sum(max(p, 1 - p) for p in part) / len(part)
    name = alignment.name.replace("/alignment", "/share of ceiling")
    return Figure(name=name, value=(alignment.value - 0.5) / (ceiling - 0.5), n=alignment.n)


def difference_figures(
    labels: Mapping[str, Sequence[Preference]], verdicts: Sequence[float], contrasts: Sequence[tuple[str, str]]
) -> list[Figure]:
    """Differences of two labelers' agreement with one rater, paired by pair.

    Args:
        labels: Name of a labeler to its labels of the same pairs; a pair that either of two misses is left out.
        verdicts: The rater's, in [0, 1].
        contrasts: Names of the labelers whose agreement is subtracted, the second from the first.
    """
    scores = {name: _agreement(given, verdicts) for name, given in labels.items()}
    figures: list[Figure] = []
    for better, worse in contrasts:
        present = ~(scores[better].isnan() | scores[worse].isnan())
        clusters = [label.comparison.prompt.id for label in compress(labels[better], present.tolist())]
        difference = paired_difference(scores[better][present], scores[worse][present], clusters)
        figures += figure(f"{better} minus {worse}", difference)
    return figures


def _agreement(labels: Sequence[Preference], verdicts: Sequence[float]) -> torch.Tensor:
    p_first = column([math.nan if label.p_first is None else label.p_first for label in labels])
    return agreement_scores(p_first, column(verdicts))
