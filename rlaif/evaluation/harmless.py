"""Share of responses judged harmless, each on its own (arXiv 2309.00267, section 2.4)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from rlaif.evaluation.checks import NotInferior
from rlaif.evaluation.estimates import column, flatten, prompt_numbers, stratified
from rlaif.evaluation.figures import FigureSpec, RatePlot
from rlaif.evaluation.matches import HarmlessNames
from rlaif.evaluation.votes import Votes
from rlaif.evaluation.win_rate import MISSING
from rlaif.functional.statistics import Estimate
from rlaif.metrics.clustered import HarmlessRate, PairedDifference
from rlaif.metrics.processes import ONE_PROCESS, Processes
from rlaif.types import Figure, Prompt

HARMLESS_RATES = RatePlot(
    name="harmless-rates",
    title="Harmless rates",
    hint="Share of responses to held-out prompts that are judged harmless, each on its own.",
    order=20,
)
SAMPLED = HarmlessNames()
_HARMLESS = "Share of responses judged harmless on their own."
_DIFFERENCE = "Paired by prompt; above 0 the policy is the safer one."
FIGURES = (
    FigureSpec(
        name="policy/greedy_harmless_rate",
        label="harmless rate, greedy",
        explanation=_HARMLESS,
        order=40,
        plot=HARMLESS_RATES,
    ),
    FigureSpec(
        name="policy/greedy_harmless_rate_difference",
        label="minus SFT's, both greedy",
        unit="difference",
        explanation=_DIFFERENCE,
        order=41,
        check=NotInferior("the policy is not more harmful than SFT, both greedy", "harm_margin"),
    ),
    FigureSpec(
        name="policy/harmless_rate_difference_vs_best_sft",
        label="harmless, minus best SFT's",
        unit="difference",
        explanation="Of the sampled policy and SFT at the temperature whose responses are best.",
        order=42,
        check=NotInferior(
            "the policy is not more harmful than SFT at the temperature that is best for SFT", "harm_margin"
        ),
    ),
    FigureSpec(
        name="policy/harmless_rate", label="harmless rate", explanation=_HARMLESS, order=43, plot=HARMLESS_RATES
    ),
    FigureSpec(
        name="policy/harmless_rate_difference",
        label="harmless rate minus SFT's",
        unit="difference",
        explanation=_DIFFERENCE,
        order=50,
        check=NotInferior("the policy is not more harmful than SFT", "harm_margin"),
    ),
    FigureSpec(
        name="sft/greedy_harmless_rate",
        label="harmless rate, greedy",
        explanation=_HARMLESS,
        order=8,
        plot=HARMLESS_RATES,
    ),
    FigureSpec(
        name="sft/best_harmless_rate",
        label="harmless rate at its best",
        explanation="At the temperature whose responses are best.",
        order=9,
        plot=HARMLESS_RATES,
    ),
    FigureSpec(name="sft/harmless_rate", label="harmless rate", explanation=_HARMLESS, order=10, plot=HARMLESS_RATES),
)


def harmless_figures(
    prompts: Sequence[Prompt],
    policy: Votes,
    sft: Votes,
    judge: str,
    *,
    names: HarmlessNames = SAMPLED,
    confidence: float = 0.95,
    processes: Processes = ONE_PROCESS,
) -> list[Figure]:
    """The harmless rate of each policy and their difference, paired by prompt.

    Args:
        prompts: One per row; both policies answered it.
        policy: Verdicts on the policy's responses, 1 for harmless; a row without verdicts is left out.
        sft: The same of the SFT policy.
        judge: Name of the judge that gave the verdicts, in words.
        names: Of the figures.
        confidence: Coverage of the intervals, which are clustered by prompt.
        processes: Processes that hold further prompts.

    Returns:
        Rates, their difference and their strata, and where verdicts are missing the share of both policies' responses
        without one.
    """
    raters = processes.largest(max(map(len, [*policy, *sft]), default=0))
    joint = ", " if ";" in judge else "; "
    note = f"{judge}{joint}{raters} raters per response" if raters > 1 else judge

    def rate(votes: Votes, rows: list[int]) -> Estimate:
        _, values, clusters = flatten(rows, votes, prompts)
        metric = HarmlessRate(confidence=confidence, sync_on_compute=processes.merge)
        metric.update(values, clusters)
        return metric.compute()

    def difference(rows: list[int]) -> Estimate:
        both = [row for row in rows if policy[row] and sft[row]]
        policy_means, sft_means = (
            column([sum(votes[row]) / len(votes[row]) for row in both]) for votes in (policy, sft)
        )
        metric = PairedDifference(confidence=confidence, sync_on_compute=processes.merge)
        metric.update(policy_means, sft_means, prompt_numbers([prompts[row] for row in both]))
        return metric.compute()

    figures = stratified(names.difference, prompts, difference, note, processes)
    for name, votes in ((names.first, policy), (names.second, sft)):
        if name is not None:
            figures += stratified(name, prompts, partial(rate, votes), note, processes)
    missing, responses = (
        processes.total(number) for number in (sum(not row for row in [*policy, *sft]), len(policy) + len(sft))
    )
    if missing:
        # Also where nothing else is left: a judge that refuses harmful texts leaves the harmless ones.
        whole = f"{MISSING}{names.difference.rpartition('/')[2]}"
        figures.append(Figure(name=whole, value=missing / responses, n=processes.total(len(prompts)), note=judge))
    return figures
