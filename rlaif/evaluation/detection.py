"""How well labels of single responses find the bad ones: against people who judged each response on its own.

A response is positive where people call it harmful, and flagged where the labeler calls it bad. Kappa and AC1 are over
these two categories.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from rlaif.evaluation.estimates import column, figure
from rlaif.evaluation.figures import FigureSpec
from rlaif.evaluation.judges import HarmJudge
from rlaif.functional.agreement import agreement_scores
from rlaif.functional.chance import chance_corrected, detection
from rlaif.functional.labels import preference_sign
from rlaif.functional.statistics import clustered_rate
from rlaif.types import Figure, Judgment, Preference, Prompt

VERDICTS = ("bad", "good")
FIGURES = (
    FigureSpec(
        name="labeler/response_agreement",
        label="single responses: agreement",
        explanation="Share of verdicts on single responses that are people's: bad for harmful, good for harmless.",
        order=130,
    ),
    FigureSpec(
        name="labeler/response_agreement_kappa",
        label="single responses: κ",
        unit="number",
        explanation="Cohen's kappa of that agreement.",
        order=131,
    ),
    FigureSpec(
        name="labeler/response_agreement_ac1",
        label="single responses: AC1",
        unit="number",
        explanation="Gwet's AC1 of that agreement.",
        order=132,
    ),
    FigureSpec(
        name="labeler/sensitivity",
        label="sensitivity",
        explanation="Of the responses that people call harmful: share that the labeler calls bad.",
        order=133,
    ),
    FigureSpec(
        name="labeler/specificity",
        label="specificity",
        explanation="Of the responses that people call harmless: share that the labeler calls good.",
        order=134,
    ),
)


def detection_figures(labels: Sequence[Preference], judge: HarmJudge, *, confidence: float = 0.95) -> list[Figure]:
    """The figures of a labeler that judges single responses as bad or good; none for any other.

    Args:
        labels: The labeler's; verdicts that are missing are left out.
        judge: People's verdicts on single responses.
        confidence: Coverage of the intervals, which are clustered by prompt.
    """
    judged = [
        (label.comparison.prompt, _response(label, item), _p_good(item))
        for label in labels
        for item in label.judgments
        if item.order in ("first", "second") and item.options == VERDICTS and not item.judge and item.missing is None
    ]
    if not judged:
        return []
    prompts: list[Prompt] = [prompt for prompt, _, _ in judged]
    votes = judge.harmless(prompts, [response for _, response, _ in judged])
    rows = [(p_good, vote, prompt.id) for (prompt, _, p_good), row in zip(judged, votes, strict=True) for vote in row]
    says_good, is_good = column([p for p, _, _ in rows]), column([vote for _, vote, _ in rows])
    clusters = [prompt for _, _, prompt in rows]
    says, truth = preference_sign(says_good), preference_sign(is_good)
    both = chance_corrected(says, truth, clusters, confidence)
    found = detection(0.5 - 0.5 * says, 0.5 - 0.5 * truth, clusters, confidence)
    name, note = "labeler/response_agreement", f"{judge.name}; of {len(judged):,} responses, each judged alone"
    return [
        *figure(name, clustered_rate(agreement_scores(says_good, is_good), clusters, confidence), note),
        *figure(f"{name}_kappa", both.kappa, note),
        *figure(f"{name}_ac1", both.ac1, note),
        *figure("labeler/sensitivity", found.sensitivity, f"{note}; positive is harmful"),
        *figure("labeler/specificity", found.specificity, f"{note}; positive is harmful"),
    ]


def _response(label: Preference, judgment: Judgment) -> str:
    pair = label.comparison
    return (pair.first if judgment.order == "first" else pair.second).trimmed


def _p_good(judgment: Judgment) -> float:
    assert judgment.option_logprobs is not None
    top = max(judgment.option_logprobs)
    bad, good = (math.exp(logprob - top) for logprob in judgment.option_logprobs)
    return good / (bad + good)
