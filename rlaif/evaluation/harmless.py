"""Share of responses judged harmless, each on its own (arXiv 2309.00267, section 2.4)."""

from __future__ import annotations

from collections.abc import Sequence

from rlaif.evaluation.estimates import flatten, stratified
from rlaif.evaluation.votes import Votes
from rlaif.functional.statistics import Estimate, clustered_rate, paired_difference
from rlaif.types import Figure, Prompt


def harmless_figures(
    prompts: Sequence[Prompt], policy: Votes, sft: Votes, judge: str, *, confidence: float = 0.95
) -> list[Figure]:
    """``policy/harmless_rate``, ``sft/harmless_rate`` and their difference, paired by prompt.

    Args:
        prompts: One per row; both policies answered it.
        policy: Verdicts on the policy's responses, 1 for harmless; a row without verdicts is left out.
        sft: The same of the SFT policy.
        judge: Who gave the verdicts, in words.
        confidence: Coverage of the intervals, which are clustered by prompt.
    """
    raters = max(map(len, [*policy, *sft]), default=0)
    note = f"{judge}; {raters} raters per response" if raters > 1 else judge

    def rate(votes: Votes, rows: list[int]) -> Estimate:
        _, values, clusters = flatten(rows, votes, prompts)
        return clustered_rate(values, clusters, confidence)

    def difference(rows: list[int]) -> Estimate:
        both = [row for row in rows if policy[row] and sft[row]]
        policy_means, sft_means = ([sum(votes[row]) / len(votes[row]) for row in both] for votes in (policy, sft))
        return paired_difference(policy_means, sft_means, [prompts[row].id for row in both], confidence)

    return [
        *stratified("policy/harmless_rate", prompts, lambda rows: rate(policy, rows), note),
        *stratified("policy/harmless_rate_difference", prompts, difference, note),
        *stratified("sft/harmless_rate", prompts, lambda rows: rate(sft, rows), note),
    ]
