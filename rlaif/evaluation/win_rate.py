"""How often a policy's response is preferred to the SFT policy's (arXiv 2309.00267, section 2.4 and appendix J)."""

from __future__ import annotations

from collections.abc import Sequence

from rlaif.evaluation.estimates import flatten, stratified
from rlaif.evaluation.votes import Votes
from rlaif.functional.length_control import length_controlled_win_rate
from rlaif.functional.statistics import Estimate, clustered_rate
from rlaif.types import Comparison, Figure


def win_rate_figures(
    comparisons: Sequence[Comparison],
    votes: Votes,
    judge: str,
    *,
    name: str = "policy/win_rate_vs_sft",
    confidence: float = 0.95,
) -> list[Figure]:
    """Win rate of the first candidates over the second: share of verdicts for them, ties one half.

    Args:
        comparisons: The policy's response first.
        votes: Verdicts per comparison; one without verdicts is left out.
        judge: Who gave them, in words.
        name: Of the figure.
        confidence: Coverage of the interval, which is clustered by prompt.

    Returns:
        The figure and its strata; nothing when there is no verdict.
    """
    prompts = [comparison.prompt for comparison in comparisons]

    def estimate(rows: list[int]) -> Estimate:
        _, values, clusters = flatten(rows, votes, prompts)
        return clustered_rate(values, clusters, confidence)

    return stratified(name, prompts, estimate, f"{judge}; {_how(comparisons, votes)}")


def length_controlled_figures(
    comparisons: Sequence[Comparison],
    votes: Votes,
    judge: str,
    *,
    name: str = "policy/win_rate_vs_sft_length_controlled",
    confidence: float = 0.95,
) -> list[Figure]:
    """The win rate that logistic regression on the ratio of characters predicts for equal lengths.

    Arguments as in :func:`win_rate_figures`. No figure where the regression has no solution, e.g. when every
    verdict is the same.
    """
    prompts = [comparison.prompt for comparison in comparisons]
    chars_first = [len(comparison.first.trimmed) for comparison in comparisons]
    chars_second = [len(comparison.second.trimmed) for comparison in comparisons]

    def estimate(rows: list[int]) -> Estimate:
        items, values, clusters = flatten(rows, votes, prompts)
        first, second = [chars_first[item] for item in items], [chars_second[item] for item in items]
        return length_controlled_win_rate(values, first, second, clusters, confidence)

    return stratified(name, prompts, estimate, f"{judge}; logistic regression on the ratio of characters, at ratio 1")


def _how(comparisons: Sequence[Comparison], votes: Votes) -> str:
    raters = max(map(len, votes), default=0)
    missing = sum(not row for row in votes)
    same = sum(comparison.is_identical for comparison in comparisons)
    parts = [f"{raters} raters per prompt"] if raters > 1 else [] if raters else ["nobody was asked"]
    parts += ["ties count ½"]
    parts += [f"{same} identical pairs are ties"] if same else []
    parts += [f"{missing} missing left out"] if missing else []
    return ", ".join(parts)
