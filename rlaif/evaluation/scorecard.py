"""The scorecard: figures of a labeler on pairs that people judged."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise

import torch

from rlaif.evaluation import detection, orders
from rlaif.evaluation.alignment import (
    alignment_figures,
    calibration_figures,
    chance_figures,
    label_figures,
    position_estimate,
)
from rlaif.evaluation.chance import beyond_chance
from rlaif.evaluation.estimates import column, figure
from rlaif.evaluation.figures import Column, FigureSpec, RatePlot
from rlaif.evaluation.formats import format_interval, format_value, judged_by
from rlaif.evaluation.votes import Votes
from rlaif.functional.agreement import agreement_scores, alignment
from rlaif.functional.length_bias import rate_at_equal_preference
from rlaif.functional.slopes import rate_slope
from rlaif.functional.statistics import clustered_rate
from rlaif.labelers.people import labeler_in_words
from rlaif.labeling.missing import missing_by_reason
from rlaif.types import Figure, Preference, content_id

CONFIDENCE_EDGES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Bins of max(P, 1 - P), the last one closed: |P - ½| in steps of 0.1."""
NUM_REASONS = 8
"""Reasons of missing labels that get a figure of their own."""
BY_CONFIDENCE = RatePlot(
    name="confidence",
    title="Alignment by confidence",
    hint="Labels sorted by the probability of their favourite. A labeler that knows what it knows is right more often "
    "where it is surer; a calibrated one is right as often as it says.",
    parity=True,
    is_headline=False,
)
FIGURES = (
    FigureSpec(
        name="labeler/prefers_longer_at_equal_preference",
        label="longer, at equal preference",
        explanation="The same where people would be split: above 50 % it likes length.",
        order=60,
        columns=(Column(table="scorecards", heading="longer at equal", order=60, on_terminal=True),),
    ),
    FigureSpec(
        name="labeler/first_slot_share",
        label="same-slot answers: slot 1",
        explanation="Of the pairs with the same slot in both orders: share with slot 1.",
        order=70,
        columns=(Column(table="scorecards", heading="of it slot 1", order=30),),
    ),
    FigureSpec(
        name="labeler/slot_p_value",
        label="slot 1 against 2: p",
        unit="number",
        explanation="Two-sided test of that share against one half, clustered by prompt.",
        order=80,
        columns=(Column(table="scorecards", heading="p", order=40),),
    ),
    FigureSpec(
        name="labeler/alignment_by_confidence",
        label="when sure",
        explanation="Alignment of the labels whose favourite has a probability in this range.",
        order=90,
        plot=BY_CONFIDENCE,
    ),
    FigureSpec(
        name="labeler/confidence_slope",
        label="alignment per confidence",
        unit="number",
        explanation="Slope of agreement on confidence: 1 as sure as right, 0 says nothing.",
        order=100,
        columns=(Column(table="scorecards", heading="slope", order=80),),
    ),
    FigureSpec(
        name="labeler/self_consistency",
        label="self-consistency",
        explanation="Share of verdicts that are the same when the labeler is asked again; a tie counts one half.",
        order=110,
        columns=(Column(table="scorecards", heading="consistent", order=90),),
    ),
    FigureSpec(
        name="labeler/tie_rate",
        label="ties",
        explanation="Share of labels of exactly one half.",
        order=120,
        columns=(Column(table="scorecards", heading="ties", order=100),),
    ),
    FigureSpec(
        name="people/agreement",
        label="one with another",
        explanation="Share of two people's verdicts on one pair that are equal: a ceiling.",
        order=10,
    ),
    FigureSpec(
        name="people/prefers_longer",
        label="prefer the longer",
        explanation="Share of people's verdicts for the longer text.",
        order=20,
    ),
    *orders.FIGURES,
    *detection.FIGURES,
)


def held_out_pairs(labels: Sequence[Preference], limit: int | None) -> list[Preference]:
    """The first held-out pairs that people judged, in the order of their hashes.

    Args:
        labels: People's labels of pairs that no training reads; missing ones are left out.
        limit: Most pairs to take; None takes all.
    """
    judged = [label for label in labels if label.p_first is not None]
    return sorted(judged, key=lambda label: content_id("scorecard", label.comparison.id))[:limit]


def scorecard_figures(
    labels: Sequence[Preference],
    votes: Votes,
    judge: str,
    *,
    again: Sequence[Preference] | None = None,
    confidence: float = 0.95,
) -> list[Figure]:
    """Every figure of a labeler on pairs that people judged, but its cost (:func:`rlaif.evaluation.cost.cost_figures`).

    Args:
        labels: The labeler's, missing ones included.
        votes: People's verdicts on the same pairs.
        judge: Name of these people, in words.
        again: The same pairs labeled with another seed, for a labeler that draws; None compares its two orders.
        confidence: Coverage of the intervals, which are clustered by prompt.

    Returns:
        Figures named ``labeler/…`` and ``people/…``; what the pairs do not determine is absent.
    """
    comparisons, p_first = [label.comparison for label in labels], [label.p_first for label in labels]
    return [
        *alignment_figures(comparisons, p_first, votes, judge, confidence=confidence),
        *chance_figures(comparisons, p_first, votes, judge, confidence=confidence),
        *orders.order_figures(labels, votes, judge, confidence=confidence),
        *_by_confidence(labels, votes, judge, confidence),
        *label_figures(labels, confidence=confidence),
        *_missing_reasons(labels, confidence),
        *_ties(labels, confidence),
        *_slots(labels, confidence),
        *_length(labels, votes, judge, confidence),
        *calibration_figures(comparisons, p_first, votes, judge, confidence=confidence),
        *_consistency(labels, again, confidence),
        *_people(labels, votes, judge, confidence),
    ]


def scorecard_verdict(figures: Sequence[Figure], labeler: str, task: str) -> str:
    """One sentence: how far the labeler agrees with people, and they with one another."""
    by_name = {figure.name: figure for figure in figures}
    found = by_name.get("labeler/alignment")
    topic = task.replace("_", " ")
    if found is None:
        return f"{topic.capitalize()}: there are no verdicts of people to compare those of {labeler} with."
    people = by_name.get("people/agreement")
    among = f"; they agree with one another on {format_value(people.value, 'rate')}" if people else ""
    return (
        f"In {topic} {labeler} agrees with {judged_by(found)} on {format_value(found.value, 'rate')} of "
        f"their verdicts ({format_interval(found, 'rate')}, {found.n:,} prompts){among}."
    )


def alignment_in_words(figures: Sequence[Figure]) -> str:
    """A few words for a line on the terminal.

    >>> alignment_in_words([])
    'nothing to compare with people'
    >>> alignment_in_words([Figure(name="labeler/alignment", value=0.5, n=1)])
    'alignment 50.0 %, 1 prompt'
    """
    found = next((figure for figure in figures if figure.name == "labeler/alignment"), None)
    if found is None:
        return "nothing to compare with people"
    interval = format_interval(found, "rate")
    shown = format_value(found.value, "rate") + (f" [{interval}]" if interval else "")
    return f"alignment {shown}, {found.n:,} {'prompt' if found.n == 1 else 'prompts'}"


def confident_mistakes(labels: Sequence[Preference], votes: Votes, count: int) -> list[Preference]:
    """The most confident labels that contradict the majority of people, the most confident first."""
    wrong = [
        label
        for label, row in zip(labels, votes, strict=True)
        if label.p_first is not None and row and (label.p_first - 0.5) * (sum(row) / len(row) - 0.5) < 0
    ]
    return sorted(wrong, key=lambda label: -abs((label.p_first or 0.0) - 0.5))[:count]


def _by_confidence(labels: Sequence[Preference], votes: Votes, judge: str, confidence: float) -> list[Figure]:
    """Alignment in bins of the label's confidence max(P, 1 - P), and the slope of agreement on it."""
    figures: list[Figure] = []
    rows = [(label, row) for label, row in zip(labels, votes, strict=True) if label.p_first is not None and row]
    sure = [max(label.p_first or 0.0, 1.0 - (label.p_first or 0.0)) for label, _ in rows]
    for low, high in pairwise(CONFIDENCE_EDGES):
        inside = [row for row, value in zip(rows, sure, strict=True) if low <= value < high or value == high == 1.0]
        scores, clusters = _agreements(inside)
        name = f"labeler/alignment_by_confidence/{low:g}-{high:g}"
        figures += figure(name, clustered_rate(scores, clusters, confidence), f"{judge}; ties count ½")
    scores, clusters = _agreements(rows)
    repeated = [value for value, (_, row) in zip(sure, rows, strict=True) for _ in row]
    slope = rate_slope(repeated, scores, clusters, confidence)
    return [*figures, *figure("labeler/confidence_slope", slope, f"{judge}; least squares on max(P, 1 − P)")]


def _agreements(rows: Sequence[tuple[Preference, tuple[float, ...]]]) -> tuple[list[float], list[str]]:
    """One agreement per verdict with its prompt."""
    p_first_N = torch.tensor([label.p_first for label, row in rows for _ in row], dtype=torch.float64)
    votes_N = column([vote for _, row in rows for vote in row])
    scores_N = agreement_scores(p_first_N, votes_N)
    return scores_N.tolist(), [label.comparison.prompt.id for label, row in rows for _ in row]


def _missing_reasons(labels: Sequence[Preference], confidence: float) -> list[Figure]:
    """``labeler/missing_rate/<reason>`` for the most frequent reasons."""
    clusters = [label.comparison.prompt.id for label in labels]
    figures: list[Figure] = []
    for reason in list(missing_by_reason(labels))[:NUM_REASONS]:
        rate = clustered_rate([float(label.missing == reason) for label in labels], clusters, confidence)
        figures += figure(f"labeler/missing_rate/{reason}", rate, labeler_in_words(labels[0]))
    return figures


def _ties(labels: Sequence[Preference], confidence: float) -> list[Figure]:
    present = [label for label in labels if label.p_first is not None]
    clusters = [label.comparison.prompt.id for label in present]
    rate = clustered_rate([float(label.p_first == 0.5) for label in present], clusters, confidence)
    return figure("labeler/tie_rate", rate, labeler_in_words(present[0])) if present else []


def _slots(labels: Sequence[Preference], confidence: float) -> list[Figure]:
    """The slot that same-slot answers name, with the paper's test; absent where no order was judged."""
    bias = position_estimate(labels, confidence)
    if bias.p_value is None:
        return []
    name = labeler_in_words(labels[0])
    test = Figure(
        name="labeler/slot_p_value",
        value=bias.p_value,
        n=bias.first_slot_share.n,
        note=f"{name}; two-sided test against one half, sign flips of whole prompts",
    )
    note = f"{name}; of the pairs with the same slot in both orders, ties left out"
    return [*figure("labeler/first_slot_share", bias.first_slot_share, note), test]


def _length(labels: Sequence[Preference], votes: Votes, judge: str, confidence: float) -> list[Figure]:
    """Preference for the longer text where people are split, and people's own."""
    verdicts: list[float] = []
    wanted: list[tuple[float, ...]] = []
    clusters: list[str] = []
    for label, row in zip(labels, votes, strict=True):
        longer = len(label.comparison.first.trimmed) - len(label.comparison.second.trimmed)
        if label.p_first is None or longer == 0 or not row:
            continue
        verdict = 0.5 if label.p_first == 0.5 else float(label.p_first > 0.5)
        verdicts.append(verdict if longer > 0 else 1.0 - verdict)
        wanted.append(row if longer > 0 else tuple(1.0 - vote for vote in row))
        clusters.append(label.comparison.prompt.id)
    at_equal = rate_at_equal_preference(verdicts, wanted, clusters, confidence)
    flat = [vote for row in wanted for vote in row]
    repeated = [cluster for cluster, row in zip(clusters, wanted, strict=True) for _ in row]
    how = "linear in people's preference, their noise taken off"
    return [
        *figure("labeler/prefers_longer_at_equal_preference", at_equal, f"{judge}; {how}"),
        *figure("people/prefers_longer", clustered_rate(flat, repeated, confidence), f"{judge}; in characters"),
    ]


def _consistency(labels: Sequence[Preference], again: Sequence[Preference] | None, confidence: float) -> list[Figure]:
    """Equal verdicts of two seeds where the labeler draws, else of its two orders."""
    if not labels:
        return []
    name = "labeler/self_consistency"
    if again is None:
        pairs = [(label, *label.p_first_by_order) for label in labels]
        note = f"{labeler_in_words(labels[0])}; verdicts of the two orders"
    else:
        pairs = [(one, one.p_first, two.p_first) for one, two in zip(labels, again, strict=True)]
        note = f"{labeler_in_words(labels[0])}; verdicts of two seeds"
    both = [(label, one, two) for label, one, two in pairs if one is not None and two is not None]
    first, second = [one for _, one, _ in both], [two for _, _, two in both]
    prompts = [label.comparison.prompt.id for label, _, _ in both]
    equal = alignment(column(first), column(second), prompts, confidence)
    return [
        *figure(name, equal, f"{note}, ties count ½"),
        *beyond_chance(name, first, second, prompts, note, confidence),
    ]


def _people(labels: Sequence[Preference], votes: Votes, judge: str, confidence: float) -> list[Figure]:
    """Agreement of two people on a pair: an approximate ceiling of a labeler's alignment."""
    rows = [(one, two, label) for label, row in zip(labels, votes, strict=True) for one, two in combinations(row, 2)]
    ones, others = [one for one, _, _ in rows], [two for _, two, _ in rows]
    prompts = [label.comparison.prompt.id for _, _, label in rows]
    name, equal = "people/agreement", alignment(column(ones), column(others), prompts, confidence)
    return [
        *figure(name, equal, f"{judge}; ties count ½"),
        *beyond_chance(name, ones, others, prompts, judge, confidence),
    ]
