"""Figures of labels and scores: agreement with people, biases, calibration."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rlaif.evaluation import chance
from rlaif.evaluation.chance import beyond_chance_figures
from rlaif.evaluation.checks import AboveChance, AtLeast, AtMost, NotShownAbove
from rlaif.evaluation.estimates import column, figure, flatten, prompt_numbers, stratified
from rlaif.evaluation.figures import Column, FigureSpec
from rlaif.evaluation.rationales import DISTINCT_RATIONALES, rationale_figures
from rlaif.evaluation.records import ReliabilityBin, ReliabilityDiagram
from rlaif.evaluation.votes import Votes
from rlaif.functional.agreement import PositionBiasEstimate
from rlaif.functional.statistics import Estimate
from rlaif.labelers.people import labeler_in_words
from rlaif.metrics.calibration import CalibrationError, ReliabilityBins
from rlaif.metrics.clustered import LabelerAlignment, PositionBias, Rate
from rlaif.metrics.processes import ONE_PROCESS, Processes
from rlaif.types import Comparison, Figure, Preference

_CALIBRATION = "Root mean square gap between P(first) and the share of wins, noise taken off; 0 is calibrated."
FIGURES = (
    FigureSpec(
        name="labeler/alignment",
        label="alignment",
        explanation="Share of verdicts that name the labeler's favourite.",
        order=10,
        check=AtLeast("the labeler's alignment is high enough", "min_alignment"),
        columns=(Column(table="scorecards", heading="alignment", order=10, on_terminal=True, with_interval=True),),
    ),
    FigureSpec(
        name="labeler/position_bias",
        label="same-slot answers",
        explanation="Share of pairs where both orders name the same slot; 0 is unbiased.",
        order=20,
        check=AtMost("the labeler reads both slots", "max_position_bias", order=-1),
        columns=(Column(table="scorecards", heading="same slot", order=20, on_terminal=True),),
    ),
    FigureSpec(
        name="labeler/missing_rate",
        label="missing labels",
        explanation="Share of pairs without a readable judgement.",
        order=30,
        check=AtMost("few labels are missing", "max_missing_rate", order=-2),
        columns=(Column(table="scorecards", heading="missing", order=110, on_terminal=True),),
    ),
    FigureSpec(
        name="labeler/answer_mass",
        label="answer mass",
        explanation="Probability of all answers together; the rest is on other words.",
        order=35,
        check=AtLeast("the labeler answers what it is asked", "min_answer_mass", order=-1),
        columns=(Column(table="scorecards", heading="answer mass", order=115),),
    ),
    FigureSpec(
        name="labeler/ece",
        label="calibration error",
        explanation=_CALIBRATION,
        order=40,
        check=NotShownAbove("the labeler is calibrated", "max_ece"),
        columns=(Column(table="scorecards", heading="ECE", order=70, on_terminal=True),),
    ),
    FigureSpec(
        name="labeler/prefers_longer",
        label="prefers the longer",
        explanation="Share of pairs where the longer text wins.",
        order=50,
        columns=(Column(table="scorecards", heading="longer", order=50),),
    ),
    DISTINCT_RATIONALES,
    FigureSpec(
        name="reward_model/accuracy",
        label="pairwise accuracy",
        explanation="Share of verdicts that name the higher-scored text.",
        order=10,
        check=AboveChance("the reward model beats chance"),
    ),
    FigureSpec(
        name="reward_model/ece",
        label="calibration error",
        explanation=_CALIBRATION,
        order=20,
        check=NotShownAbove("the reward model is calibrated", "max_ece"),
    ),
    *chance.FIGURES,
)


def label_figures(
    labels: Sequence[Preference],
    *,
    group: str = "labeler",
    confidence: float = 0.95,
    processes: Processes = ONE_PROCESS,
) -> list[Figure]:
    """Figures of a labeler that need no other judge.

    ``labeler/missing_rate``: share of pairs without a label. ``labeler/answer_mass``: mean probability of all answers
    together, over judgements, absent where none knows it. ``labeler/position_bias``: share of pairs where both
    orders name the same slot. ``labeler/prefers_longer``: share of labels for the longer text, among pairs of
    different length. ``labeler/distinct_rationales``: of :func:`rlaif.evaluation.rationales.rationale_figures`.

    Args:
        labels: Labels in any order, missing ones included.
        group: Group of the figures' names, instead of ``labeler``.
        confidence: Coverage of the intervals, which are clustered by prompt.
        processes: Processes that hold further labels.
    """
    labeler = processes.first(labeler_in_words(labels[0]) if labels else "")
    missing = Rate(confidence=confidence, sync_on_compute=processes.merge)
    missing.update(
        column([float(label.p_first is None) for label in labels]),
        prompt_numbers([label.comparison.prompt for label in labels]),
    )
    same_slot = position_estimate(labels, confidence, processes).same_slot
    return [
        *figure(f"{group}/missing_rate", missing.compute(), labeler),
        *figure(f"{group}/answer_mass", _answer_mass(labels, confidence, processes), f"{labeler}; over judgements"),
        *figure(f"{group}/position_bias", same_slot, f"{labeler}; ties count ½"),
        *figure(
            f"{group}/prefers_longer",
            _prefers_longer(labels, confidence, processes),
            f"{labeler}; in characters, ties count ½, pairs of equal length left out",
        ),
        *rationale_figures(labels, labeler, group=group, processes=processes),
    ]


def alignment_figures(
    comparisons: Sequence[Comparison],
    p_first: Sequence[float | None],
    votes: Votes,
    judge: str,
    *,
    name: str = "labeler/alignment",
    confidence: float = 0.95,
    processes: Processes = ONE_PROCESS,
) -> list[Figure]:
    """Share of people's verdicts that name the candidate that P(first) prefers; a tie on either side counts ½.

    With one rater this is the paper's AI labeler alignment; with several every rater counts on its own, so that
    the figure estimates the agreement with one rater.

    Args:
        comparisons: What was judged.
        p_first: By the labeler or the reward model; None where missing, which is left out.
        votes: People's verdicts on the same comparisons.
        judge: Name of the judge, for example of these people, in words.
        name: ``labeler/alignment`` or ``reward_model/accuracy``.
        confidence: Coverage of the interval, which is clustered by prompt.
        processes: Processes that hold further comparisons.
    """
    prompts = [comparison.prompt for comparison in comparisons]

    def estimate(rows: list[int]) -> Estimate:
        metric = LabelerAlignment(confidence=confidence, sync_on_compute=processes.merge)
        metric.update(*_predictions(comparisons, p_first, votes, rows))
        return metric.compute()

    raters = processes.largest(max(map(len, votes), default=0))
    method = f"mean over {raters} raters, ties count ½" if raters > 1 else "ties count ½"
    return stratified(name, prompts, estimate, f"{judge}; {method}", processes)


def chance_figures(
    comparisons: Sequence[Comparison],
    p_first: Sequence[float | None],
    votes: Votes,
    judge: str,
    *,
    name: str = "labeler/alignment",
    confidence: float = 0.95,
    processes: Processes = ONE_PROCESS,
) -> list[Figure]:
    """The same agreement beyond chance: ``<name>_kappa`` and ``<name>_ac1``; arguments as above."""
    return beyond_chance_figures(
        name,
        [comparison.prompt for comparison in comparisons],
        lambda rows: _predictions(comparisons, p_first, votes, rows),
        judge,
        confidence=confidence,
        processes=processes,
    )


def calibration_figures(
    comparisons: Sequence[Comparison],
    p_first: Sequence[float | None],
    votes: Votes,
    judge: str,
    *,
    group: str = "labeler",
    num_bins: int = 10,
    confidence: float = 0.95,
    processes: Processes = ONE_PROCESS,
) -> list[Figure]:
    """``<group>/ece``: calibration error of P(first) against people's verdicts; arguments as above."""
    metric = CalibrationError(num_bins=num_bins, confidence=confidence, sync_on_compute=processes.merge)
    metric.update(*_predictions(comparisons, p_first, votes))
    return figure(f"{group}/ece", metric.compute(), f"{judge}; {num_bins} bins, root mean square, noise subtracted")


def reliability_diagram(
    comparisons: Sequence[Comparison],
    p_first: Sequence[float | None],
    votes: Votes,
    judge: str,
    *,
    title: str = "Labeler",
    num_bins: int = 10,
    processes: Processes = ONE_PROCESS,
) -> ReliabilityDiagram:
    """The bins of a reliability diagram, empty ones left out; arguments as in :func:`alignment_figures`."""
    metric = ReliabilityBins(num_bins=num_bins, sync_on_compute=processes.merge)
    metric.update(*_predictions(comparisons, p_first, votes))
    table = metric.compute()
    rows = zip(table.mean_probability_K.tolist(), table.mean_outcome_K.tolist(), table.count_K.tolist(), strict=True)
    bins = tuple(ReliabilityBin(predicted=p, observed=o, count=int(count)) for p, o, count in rows if count)
    return ReliabilityDiagram(title=title, bins=bins, judged_by=judge)


def p_first_from_scores(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """A reward model's P(first is better) under Bradley-Terry: σ(r_first - r_second).

    >>> p_first_from_scores([1.0, 2.0], [1.0, -40.0])
    [0.5, 1.0]
    """
    difference = torch.tensor(first, dtype=torch.float64) - torch.tensor(second, dtype=torch.float64)
    return torch.sigmoid(difference).tolist()


def position_estimate(
    labels: Sequence[Preference], confidence: float = 0.95, processes: Processes = ONE_PROCESS
) -> PositionBiasEstimate:
    """Same-slot answers of the labels that hold a verdict in both orders; undefined where there is none."""
    both = [(*label.p_first_by_order, label.comparison.prompt) for label in labels]
    present = [(given, swapped, prompt) for given, swapped, prompt in both if given is not None and swapped is not None]
    metric = PositionBias(confidence=confidence, sync_on_compute=processes.merge)
    metric.update(
        column([given for given, _, _ in present]),
        column([swapped for _, swapped, _ in present]),
        prompt_numbers([prompt for _, _, prompt in present]),
    )
    return metric.compute()


def _predictions(
    comparisons: Sequence[Comparison],
    p_first: Sequence[float | None],
    votes: Votes,
    rows: Sequence[int] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """One row per verdict on a comparison that has a P(first): predicted, observed, number of the prompt."""
    present: Votes = [() if p is None else row for p, row in zip(p_first, votes, strict=True)]
    prompts = [comparison.prompt for comparison in comparisons]
    items, observed, clusters = flatten(range(len(prompts)) if rows is None else rows, present, prompts)
    return torch.tensor([p_first[item] for item in items], dtype=torch.float64), observed, clusters


def _answer_mass(labels: Sequence[Preference], confidence: float, processes: Processes) -> Estimate:
    known = [
        (judgment.answer_mass, label.comparison.prompt)
        for label in labels
        for judgment in label.judgments
        if judgment.answer_mass is not None
    ]
    metric = Rate(confidence=confidence, sync_on_compute=processes.merge)
    metric.update(column([mass for mass, _ in known]), prompt_numbers([prompt for _, prompt in known]))
    return metric.compute()


def _prefers_longer(labels: Sequence[Preference], confidence: float, processes: Processes) -> Estimate:
    scores, prompts = [], []
    for label in labels:
        longer = len(label.comparison.first.trimmed) - len(label.comparison.second.trimmed)
        if label.p_first is None or longer == 0:
            continue
        prefers_first = 0.5 if label.p_first == 0.5 else float(label.p_first > 0.5)
        scores.append(prefers_first if longer > 0 else 1.0 - prefers_first)
        prompts.append(label.comparison.prompt)
    metric = Rate(confidence=confidence, sync_on_compute=processes.merge)
    metric.update(column(scores), prompt_numbers(prompts))
    return metric.compute()
