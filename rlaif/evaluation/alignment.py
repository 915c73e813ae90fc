"""How far a labeler or a reward model can be trusted: agreement with people, biases, calibration."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rlaif.evaluation.estimates import figure, flatten, stratified
from rlaif.evaluation.votes import Votes
from rlaif.functional.agreement import PositionBiasEstimate, alignment, position_bias
from rlaif.functional.calibration import calibration_error_estimate, calibration_sums, reliability
from rlaif.functional.statistics import Estimate, clustered_rate, undefined
from rlaif.reporting.records import Reliability, ReliabilityBin
from rlaif.types import Comparison, Figure, Preference


def label_figures(labels: Sequence[Preference], *, group: str = "labeler", confidence: float = 0.95) -> list[Figure]:
    """What labels show about their labeler without asking anybody else.

    ``labeler/missing_rate``: share of pairs without a label. ``labeler/position_bias``: share of pairs where both
    orders name the same slot. ``labeler/prefers_longer``: share of labels for the longer text, among pairs of
    different length.

    Args:
        labels: Labels in any order, missing ones included.
        group: What stands in the figures' names instead of ``labeler``.
        confidence: Coverage of the intervals, which are clustered by prompt.
    """
    if not labels:
        return []
    labeler = labeler_in_words(labels[0])
    missing = clustered_rate(
        [float(label.p_first is None) for label in labels], [label.comparison.prompt.id for label in labels], confidence
    )
    return [
        *figure(f"{group}/missing_rate", missing, labeler),
        *figure(f"{group}/position_bias", position_estimate(labels, confidence).same_slot, f"{labeler}; ties count ½"),
        *figure(
            f"{group}/prefers_longer",
            _prefers_longer(labels, confidence),
            f"{labeler}; in characters, ties count ½, pairs of equal length left out",
        ),
    ]


def alignment_figures(
    comparisons: Sequence[Comparison],
    p_first: Sequence[float | None],
    votes: Votes,
    judge: str,
    *,
    name: str = "labeler/alignment",
    confidence: float = 0.95,
) -> list[Figure]:
    """Share of people's verdicts that name the candidate that P(first) prefers; a tie on either side counts ½.

    With one rater this is the paper's AI labeler alignment; with several every rater counts on its own, so that
    the figure estimates the agreement with one rater.

    Args:
        comparisons: What was judged.
        p_first: By the labeler or the reward model; None where missing, which is left out.
        votes: People's verdicts on the same comparisons.
        judge: Who these people are, in words.
        name: ``labeler/alignment`` or ``reward_model/accuracy``.
        confidence: Coverage of the interval, which is clustered by prompt.
    """
    prompts = [comparison.prompt for comparison in comparisons]
    present: Votes = [() if p is None else row for p, row in zip(p_first, votes, strict=True)]

    def estimate(rows: list[int]) -> Estimate:
        items, values, clusters = flatten(rows, present, prompts)
        predicted = torch.tensor([p_first[item] for item in items], dtype=torch.float64)
        return alignment(predicted, torch.tensor(values, dtype=torch.float64), clusters, confidence)

    raters = max(map(len, votes), default=0)
    how = f"mean over {raters} raters, ties count ½" if raters > 1 else "ties count ½"
    return stratified(name, prompts, estimate, f"{judge}; {how}")


def calibration_figures(
    comparisons: Sequence[Comparison],
    p_first: Sequence[float | None],
    votes: Votes,
    judge: str,
    *,
    group: str = "labeler",
    num_bins: int = 10,
    confidence: float = 0.95,
) -> list[Figure]:
    """``<group>/ece``: expected calibration error of P(first) against people's verdicts; arguments as above."""
    predicted, observed, clusters = _predictions(comparisons, p_first, votes)
    estimate = calibration_error_estimate(predicted, observed, clusters, confidence, num_bins=num_bins)
    return figure(f"{group}/ece", estimate, f"{judge}; {num_bins} bins, interval by bootstrap over prompts")


def reliability_diagram(
    comparisons: Sequence[Comparison],
    p_first: Sequence[float | None],
    votes: Votes,
    judge: str,
    *,
    title: str = "Labeler",
    num_bins: int = 10,
) -> Reliability:
    """The bins of a reliability diagram, empty ones left out; arguments as in :func:`alignment_figures`."""
    predicted, observed, _ = _predictions(comparisons, p_first, votes)
    table = reliability(calibration_sums(predicted, observed, num_bins))
    rows = zip(table.mean_probability_K.tolist(), table.mean_outcome_K.tolist(), table.count_K.tolist(), strict=True)
    bins = tuple(ReliabilityBin(predicted=p, observed=o, count=int(count)) for p, o, count in rows if count)
    return Reliability(title=title, bins=bins, judged_by=judge)


def p_first_from_scores(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """A reward model's P(first is better) under Bradley-Terry: σ(r_first - r_second).

    >>> p_first_from_scores([1.0, 2.0], [1.0, -40.0])
    [0.5, 1.0]
    """
    difference = torch.tensor(first, dtype=torch.float64) - torch.tensor(second, dtype=torch.float64)
    return torch.sigmoid(difference).tolist()


def position_estimate(labels: Sequence[Preference], confidence: float = 0.95) -> PositionBiasEstimate:
    """Same-slot answers of the labels that hold a verdict in both orders; undefined where there is none."""
    both = [(*label.p_first_by_order, label.comparison.prompt.id) for label in labels]
    present = [(given, swapped, prompt) for given, swapped, prompt in both if given is not None and swapped is not None]
    if not present:
        nothing = undefined(0, "no pair was judged in both orders")
        return PositionBiasEstimate(nothing, nothing, None)
    given, swapped, clusters = zip(*present, strict=True)
    given_B, swapped_B = torch.tensor(given, dtype=torch.float64), torch.tensor(swapped, dtype=torch.float64)
    return position_bias(given_B, swapped_B, clusters, confidence)


def labeler_in_words(label: Preference) -> str:
    """Who gave a label: people's labels name the people, a model's the labeler."""
    return label.labeler or label.source if label.source in ("", "ai") else label.source


def _predictions(
    comparisons: Sequence[Comparison], p_first: Sequence[float | None], votes: Votes
) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    present: Votes = [() if p is None else row for p, row in zip(p_first, votes, strict=True)]
    prompts = [comparison.prompt for comparison in comparisons]
    items, values, clusters = flatten(range(len(prompts)), present, prompts)
    predicted = torch.tensor([p_first[item] for item in items], dtype=torch.float64)
    return predicted, torch.tensor(values, dtype=torch.float64), clusters


def _prefers_longer(labels: Sequence[Preference], confidence: float) -> Estimate:
    scores, clusters = [], []
    for label in labels:
        longer = len(label.comparison.first.trimmed) - len(label.comparison.second.trimmed)
        if label.p_first is None or longer == 0:
            continue
        prefers_first = 0.5 if label.p_first == 0.5 else float(label.p_first > 0.5)
        scores.append(prefers_first if longer > 0 else 1.0 - prefers_first)
        clusters.append(label.comparison.prompt.id)
    return clustered_rate(scores, clusters, confidence)
