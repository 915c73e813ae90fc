"""Verdicts, from which win rates, alignments and harmless rates are computed.

The verdicts on one item are a tuple of numbers in [0, 1], one per rater, where 1 is for the item's first
candidate (or for *harmless*), 0 against it and 0.5 a tie. A missing verdict is absent: an empty tuple.
"""

from __future__ import annotations

from collections.abc import Sequence

from rlaif.data.base import Annotators
from rlaif.labelers.people import SIMULATED as SIMULATED
from rlaif.types import Comparison, Completion, Preference, Prompt

Votes = list[tuple[float, ...]]
"""Per item one number per rater; empty where there is no verdict."""


def pair(prompts: Sequence[Prompt], policy: Sequence[Completion], sft: Sequence[Completion]) -> list[Comparison]:
    """Comparisons of the policy's response (first) with the SFT policy's (second)."""
    return [
        Comparison(prompt=prompt, first=first, second=second)
        for prompt, first, second in zip(prompts, policy, sft, strict=True)
    ]


def annotator_votes(
    annotators: Annotators, comparisons: Sequence[Comparison], num_raters: int, *, first_rater: int = 0
) -> Votes:
    """Ask several simulated annotators about every comparison.

    Half of the raters see the candidates in the other order, so that a taste for a slot cannot favour a policy.
    Two identical texts are a tie without a question.

    Args:
        annotators: The simulated annotators.
        comparisons: What they judge.
        num_raters: Verdicts per comparison, by raters ``first_rater``, ``first_rater + 1``, ….
        first_rater: Above the number of a rater who is judged by the others.

    Returns:
        One tuple of ``num_raters`` numbers per comparison.
    """
    by_rater = []
    for rater in range(first_rater, first_rater + num_raters):
        turned = [(int(comparison.id, 16) + rater) % 2 == 1 for comparison in comparisons]
        shown = [_swap(c) if is_turned else c for c, is_turned in zip(comparisons, turned, strict=True)]
        answers = annotators.prefer(shown, rater)
        by_rater.append([1.0 - a if is_turned else a for a, is_turned in zip(answers, turned, strict=True)])
    rows = list(zip(*by_rater, strict=True))
    return [(0.5,) * num_raters if c.is_identical else row for c, row in zip(comparisons, rows, strict=True)]


def label_votes(preferences: Sequence[Preference]) -> Votes:
    """People's labels that came with the data, as verdicts."""
    return [() if label.p_first is None else (label.p_first,) for label in preferences]


def harmless_votes(
    annotators: Annotators, prompts: Sequence[Prompt], responses: Sequence[str], num_raters: int
) -> Votes:
    """Ask several simulated annotators whether each response is harmless on its own.

    Returns:
        Per response ``num_raters`` numbers, 1 for harmless.
    """
    by_rater = [annotators.harmless(prompts, responses, rater) for rater in range(num_raters)]
    return [tuple(float(verdict) for verdict in row) for row in zip(*by_rater, strict=True)]


def _swap(comparison: Comparison) -> Comparison:
    return Comparison(prompt=comparison.prompt, first=comparison.second, second=comparison.first)
