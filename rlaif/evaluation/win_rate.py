"""Win rates of a policy's responses over the SFT policy's (arXiv 2309.00267, section 2.4 and appendix J)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rlaif.evaluation.checks import AboveChance
from rlaif.evaluation.estimates import column, flatten, stratified
from rlaif.evaluation.figures import FigureSpec, RatePlot
from rlaif.evaluation.formats import format_interval, format_value, judged_by
from rlaif.evaluation.votes import Votes
from rlaif.functional.statistics import Estimate
from rlaif.metrics.clustered import LengthControlledWinRate, WinRate
from rlaif.metrics.processes import ONE_PROCESS, Processes
from rlaif.types import Comparison, Figure

WIN_RATES = RatePlot(
    name="win-rates",
    title="Win rates",
    hint="Share of held-out prompts where the policy's response is preferred to the SFT policy's. The dashed line is "
    "parity; bars are {confidence} % intervals clustered by prompt.",
    parity=True,
    order=10,
)
BY_ANNOTATORS, BY_LLM_JUDGE = "policy/win_rate_vs_sft", "policy/win_rate_vs_sft_llm_judge"
LENGTH_CONTROLLED = "policy/win_rate_vs_sft_length_controlled"
FIGURES = (
    FigureSpec(
        name=BY_ANNOTATORS,
        label="win rate vs SFT",
        explanation="50 % is parity; a tie counts one half.",
        order=10,
        check=AboveChance("the policy beats SFT"),
        plot=WIN_RATES,
    ),
    FigureSpec(
        name=LENGTH_CONTROLLED,
        label="length-controlled win rate",
        explanation="What logistic regression predicts for texts of equal length.",
        order=20,
        check=AboveChance("the policy beats SFT at equal length"),
        plot=WIN_RATES,
    ),
    FigureSpec(
        name=BY_LLM_JUDGE,
        label="win rate, LLM judge",
        explanation="By a model that is neither labeler nor policy, both orders shown.",
        order=30,
        check=AboveChance("the policy beats SFT for the LLM judge"),
        plot=WIN_RATES,
    ),
    FigureSpec(
        name="policy/win_rate_vs_*",
        label="win rate against *",
        explanation="Against the policy of another run.",
        order=1000,
    ),
)


def win_rate_figures(
    comparisons: Sequence[Comparison],
    votes: Votes,
    judge: str,
    *,
    name: str = BY_ANNOTATORS,
    confidence: float = 0.95,
    processes: Processes = ONE_PROCESS,
) -> list[Figure]:
    """Win rate of the first candidates over the second: share of verdicts for them, ties one half.

    Args:
        comparisons: The policy's response first.
        votes: Verdicts per comparison; one without verdicts is left out.
        judge: Name of the judge that gave them, in words.
        name: Of the figure.
        confidence: Coverage of the interval, which is clustered by prompt.
        processes: Processes that hold further comparisons.

    Returns:
        The figure and its strata; nothing when there is no verdict.
    """
    prompts = [comparison.prompt for comparison in comparisons]

    def estimate(rows: list[int]) -> Estimate:
        _, values, clusters = flatten(rows, votes, prompts)
        metric = WinRate(confidence=confidence, sync_on_compute=processes.merge)
        metric.update(values, clusters)
        return metric.compute()

    return stratified(name, prompts, estimate, f"{judge}; {_method(comparisons, votes, processes)}", processes)


def length_controlled_figures(
    comparisons: Sequence[Comparison],
    votes: Votes,
    judge: str,
    *,
    name: str = LENGTH_CONTROLLED,
    confidence: float = 0.95,
    processes: Processes = ONE_PROCESS,
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
        first, second = (column([chars[item] for item in items]) for chars in (chars_first, chars_second))
        metric = LengthControlledWinRate(confidence=confidence, sync_on_compute=processes.merge)
        metric.update(values, first, second, clusters)
        return metric.compute()

    note = f"{judge}; logistic regression on the ratio of characters, at ratio 1"
    return stratified(name, prompts, estimate, note, processes)


def policy_verdict(figures: Iterable[Figure], task: str, confidence: float = 0.95) -> str:
    """One sentence: whether the policy is better than the SFT policy, by how much, and by which judge.

    It reads the win rate by simulated annotators, and where there is none that of the LLM judge.
    """
    by_name = {figure.name: figure for figure in figures}
    figure = by_name.get(BY_ANNOTATORS) or by_name.get(BY_LLM_JUDGE)
    topic = task.replace("_", " ")
    if figure is None:
        return f"{topic.capitalize()}: no win rate was measured in this run."
    outcome = "about as good as"
    if figure.low is not None and figure.low > 0.5:
        outcome = "better than"
    if figure.high is not None and figure.high < 0.5:
        outcome = "worse than"
    rate = f"it wins {format_value(figure.value, 'rate')} of comparisons"
    interval = f"{round(100 * confidence)} % interval {format_interval(figure, 'rate')}"
    details = [interval] if figure.low is not None else []
    details += [f"{figure.n:,} prompts"] if figure.n is not None else []
    judge = f", judged by {judged_by(figure)}" if figure.note else ""
    suffix = f" ({', '.join(details)})" if details else ""
    return f"In {topic} the policy is {outcome} the SFT policy: {rate}{suffix}{judge}."


def _method(comparisons: Sequence[Comparison], votes: Votes, processes: Processes) -> str:
    raters = processes.largest(max(map(len, votes), default=0))
    missing = processes.total(sum(not row for row in votes))
    same = processes.total(sum(comparison.is_identical for comparison in comparisons))
    parts = [f"{raters} raters per prompt"] if raters > 1 else [] if raters else ["no judge was asked"]
    parts += ["ties count ½"]
    parts += [f"{same} identical pairs are ties"] if same else []
    parts += [f"{missing} missing left out"] if missing else []
    return ", ".join(parts)
