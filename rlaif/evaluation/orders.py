"""Figures of each order of a judge that saw every pair in both: agreement with people, and with itself.

They come in two kinds. ``alignment_…`` leaves a missing verdict out and counts a tie one half, as ``labeler/alignment``
does. ``correct_…`` and ``same_answer`` are shares of all pairs, as benchmarks of judges publish them (LLMBar,
arXiv 2310.07641): a missing verdict is wrong, a tie is right only where people tie, and two missing verdicts are the
same answer.
"""

from __future__ import annotations

from collections.abc import Sequence

from rlaif.evaluation.alignment import alignment_figures
from rlaif.evaluation.estimates import figure
from rlaif.evaluation.figures import Column, FigureSpec
from rlaif.evaluation.votes import Votes
from rlaif.functional.statistics import clustered_rate
from rlaif.labelers.people import labeler_in_words
from rlaif.types import Figure, Preference

ORDERS = ("given", "swapped")
_ALL = "of all pairs, a missing verdict is wrong"
FIGURES = (
    FigureSpec(
        name="labeler/alignment_given",
        label="alignment, order given",
        explanation="Alignment of the verdicts of the given order alone.",
        order=13,
    ),
    FigureSpec(
        name="labeler/alignment_swapped",
        label="alignment, order swapped",
        explanation="Alignment of the verdicts of the swapped order alone.",
        order=14,
    ),
    FigureSpec(
        name="labeler/alignment_missing_wrong",
        label="alignment, missing is wrong",
        explanation="Alignment of all pairs, where a missing label agrees with nobody.",
        order=15,
    ),
    FigureSpec(
        name="labeler/correct_given",
        label="correct, order given",
        explanation="Share of all pairs where the given order names people's choice; missing is wrong.",
        order=16,
    ),
    FigureSpec(
        name="labeler/correct_swapped",
        label="correct, order swapped",
        explanation="Share of all pairs where the swapped order names people's choice; missing is wrong.",
        order=17,
    ),
    FigureSpec(
        name="labeler/correct_both",
        label="correct in both orders",
        explanation="Share of all pairs where both orders name people's choice; missing is wrong.",
        order=18,
        columns=(Column(table="scorecards", heading="correct in both", order=15),),
    ),
    FigureSpec(
        name="labeler/same_answer",
        label="same answer in both orders",
        explanation="Share of all pairs where both orders name the same response, or both none.",
        order=19,
    ),
)


def order_figures(labels: Sequence[Preference], votes: Votes, judge: str, *, confidence: float = 0.95) -> list[Figure]:
    """The figures of both orders; none for a labeler that did not judge in orders.

    Args:
        labels: The labeler's, missing ones included.
        votes: People's verdicts on the same pairs.
        judge: Name of these people, in words.
        confidence: Coverage of the intervals, which are clustered by prompt.
    """
    aligned = _missing_wrong(labels, votes, judge, confidence)
    if not any(item.order in ORDERS and not item.judge for label in labels for item in label.judgments):
        return aligned
    comparisons = [label.comparison for label in labels]
    by_order = [label.p_first_by_order for label in labels]
    figures: list[Figure] = []
    for place, order in enumerate(ORDERS):
        verdicts = [both[place] for both in by_order]
        name = f"labeler/alignment_{order}"
        figures += alignment_figures(comparisons, verdicts, votes, judge, name=name, confidence=confidence)
    return [*figures, *aligned, *_correct(labels, votes, judge, confidence), *_same_answer(labels, confidence)]


def _missing_wrong(labels: Sequence[Preference], votes: Votes, judge: str, confidence: float) -> list[Figure]:
    """Absent where no label is missing, as it is the alignment itself, and where all are: nothing was measured."""
    if len({label.p_first is None for label in labels}) < 2:
        return []
    scores, clusters = [], []
    for label, row in zip(labels, votes, strict=True):
        for vote in row:
            agreed = 0.0 if label.p_first is None else 0.5 + 0.5 * _sign(label.p_first) * _sign(vote)
            scores.append(agreed)
            clusters.append(label.comparison.prompt.id)
    note = f"{judge}; ties count ½, {_ALL}"
    return figure("labeler/alignment_missing_wrong", clustered_rate(scores, clusters, confidence), note)


def _correct(labels: Sequence[Preference], votes: Votes, judge: str, confidence: float) -> list[Figure]:
    rows: dict[str, list[float]] = {"given": [], "swapped": [], "both": []}
    clusters: list[str] = []
    for label, row in zip(labels, votes, strict=True):
        for vote in row:
            right = [p_first is not None and _sign(p_first) == _sign(vote) for p_first in label.p_first_by_order]
            for name, value in zip(rows, (*right, all(right)), strict=True):
                rows[name].append(float(value))
            clusters.append(label.comparison.prompt.id)
    return [
        item
        for name, values in rows.items()
        for item in figure(f"labeler/correct_{name}", clustered_rate(values, clusters, confidence), f"{judge}; {_ALL}")
    ]


def _same_answer(labels: Sequence[Preference], confidence: float) -> list[Figure]:
    named = [[None if p is None else _sign(p) for p in label.p_first_by_order] for label in labels]
    clusters = [label.comparison.prompt.id for label in labels]
    rate = clustered_rate([float(given == swapped) for given, swapped in named], clusters, confidence)
    note = f"{labeler_in_words(labels[0])}; of all pairs, two missing verdicts are the same answer"
    return figure("labeler/same_answer", rate, note)


def _sign(p_first: float) -> int:
    """The category: 1 the first, -1 the second, 0 a tie."""
    return (p_first > 0.5) - (p_first < 0.5)
