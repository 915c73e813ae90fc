"""Win rates of a policy's responses over the SFT policy's (arXiv 2309.00267, section 2.4 and appendix J)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rlaif.evaluation.checks import AboveChance, AtMost
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
BY_ANNOTATORS = "policy/win_rate_vs_sft"
GREEDY, VS_BEST = "policy/greedy_win_rate_vs_sft", "policy/win_rate_vs_best_sft"
LENGTH_CONTROLLED = "policy/win_rate_vs_sft_length_controlled"
MISSING = "policy/missing_rate_"
"""Begins the name of the share of a win rate's pairs without a verdict; the win rate's own name follows."""
SAME_MARGIN = 0.05
"""Policies are called about as good as each other where the whole interval is this near to one half."""
_LLM_JUDGE = "By a model that is neither labeler nor policy, both orders shown."
_EQUAL_LENGTH = "What logistic regression predicts for texts of equal length."
FIGURES = (
    FigureSpec(
        name=GREEDY,
        label="win rate, both greedy",
        explanation="What was learned: without sampling, a policy that only became surer of itself has 50 %.",
        order=10,
        check=AboveChance("the policy beats SFT, both greedy"),
        plot=WIN_RATES,
    ),
    FigureSpec(
        name=f"{GREEDY}_length_controlled",
        label="both greedy, equal length",
        explanation=_EQUAL_LENGTH,
        order=11,
        check=AboveChance("the policy beats SFT, both greedy, at equal length"),
        plot=WIN_RATES,
    ),
    FigureSpec(
        name=f"{GREEDY}_llm_judge",
        label="both greedy, LLM judge",
        explanation=_LLM_JUDGE,
        order=12,
        check=AboveChance("the policy beats SFT, both greedy, for the LLM judge"),
        plot=WIN_RATES,
    ),
    FigureSpec(
        name=VS_BEST,
        label="win rate vs best SFT",
        explanation="The sampled policy against SFT at the temperature that is best for SFT.",
        order=13,
        check=AboveChance("the policy beats SFT at the temperature that is best for SFT"),
        plot=WIN_RATES,
    ),
    FigureSpec(
        name=f"{VS_BEST}_llm_judge",
        label="vs best SFT, LLM judge",
        explanation=_LLM_JUDGE,
        order=14,
        check=AboveChance("the policy beats SFT at the temperature that is best for SFT for the LLM judge"),
        plot=WIN_RATES,
    ),
    FigureSpec(
        name=BY_ANNOTATORS,
        label="win rate, same temperature",
        explanation="Both sampled at one temperature: what was learned and what only became surer, together. 50 % is "
        "parity; a tie counts one half.",
        order=20,
        check=AboveChance("the policy beats SFT at the same temperature"),
        plot=WIN_RATES,
    ),
    FigureSpec(
        name=LENGTH_CONTROLLED,
        label="same temperature, length",
        explanation=_EQUAL_LENGTH,
        order=21,
        check=AboveChance("the policy beats SFT at the same temperature and length"),
        plot=WIN_RATES,
    ),
    FigureSpec(
        name=f"{BY_ANNOTATORS}_llm_judge",
        label="win rate, LLM judge",
        explanation=_LLM_JUDGE,
        order=22,
        check=AboveChance("the policy beats SFT for the LLM judge"),
        plot=WIN_RATES,
    ),
    FigureSpec(name=f"{BY_ANNOTATORS}_at_*", label="win rate, both at *", order=23, plot=WIN_RATES),
    FigureSpec(
        name="sft/greedy_win_rate_vs_sampled",
        label="greedy against sampled SFT",
        explanation="What greedy decoding alone gives, without any learning.",
        order=6,
        plot=WIN_RATES,
    ),
    FigureSpec(
        name=f"{MISSING}*",
        label="without a verdict: *",
        explanation="Share of the pairs of this win rate that its judge gave no verdict on.",
        order=90,
        check=AtMost("the judge gave verdicts on the pairs", "max_missing_rate"),
    ),
    FigureSpec(
        name="policy/greedy_win_rate_vs_*",
        label="both greedy, against *",
        explanation="Against the policy of another run.",
        order=999,
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
        judge: Name of the judge that gave them, in words; behind a semicolon the sampling of the responses.
        name: Of the figure.
        confidence: Coverage of the interval, which is clustered by prompt.
        processes: Processes that hold further comparisons.

    Returns:
        The figure and its strata, none of them where there is no verdict, and where verdicts are missing their share.
    """
    prompts = [comparison.prompt for comparison in comparisons]

    def estimate(rows: list[int]) -> Estimate:
        _, values, clusters = flatten(rows, votes, prompts)
        metric = WinRate(confidence=confidence, sync_on_compute=processes.merge)
        metric.update(values, clusters)
        return metric.compute()

    note = f"{judge}{', ' if ';' in judge else '; '}{_method(comparisons, votes, processes)}"
    figures = stratified(name, prompts, estimate, note, processes)
    missing, pairs = (processes.total(number) for number in (sum(not row for row in votes), len(votes)))
    if missing:
        # Also where no verdict is left: that nobody read the responses must not look like nobody being asked to.
        whole, num_prompts = f"{MISSING}{name.rpartition('/')[2]}", figures[0].n if figures else pairs
        figures.append(Figure(name=whole, value=missing / pairs, n=num_prompts, note=judge))
    return figures


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

    note = f"{judge}{', ' if ';' in judge else '; '}logistic regression on the ratio of characters, at ratio 1"
    return stratified(name, prompts, estimate, note, processes)


def policy_verdict(figures: Iterable[Figure], task: str, confidence: float = 0.95) -> str:
    """One or two sentences: whether the policy is better than the SFT policy, by how much, and by which judge.

    They read the headline figures that there are, and where there are none the win rate at the same temperature; each
    by simulated annotators, and where there are none by the LLM judge.
    """
    by_name = {figure.name: figure for figure in figures}
    found = [(words, by_name.get(name) or by_name.get(f"{name}_llm_judge")) for name, words in _VERDICTS]
    missing = {name: item.value for name, item in by_name.items() if name.startswith(MISSING)}
    told = [(words, figure) for words, figure in found if figure is not None]
    topic = task.replace("_", " ")
    if not told:
        return f"{topic.capitalize()}: no win rate was measured in this run."
    told = [row for row in told if row[0] != _VERDICTS[-1][1]] or told
    (words, lead), *others = told
    first = f"In {topic} the policy is {_outcome(lead)} the SFT policy{words}: {_wins(lead, confidence, missing)}."
    return " ".join(
        [
            first,
            *(
                f"It is {_outcome(other)} the SFT policy{words}: {_wins(other, confidence, missing)}."
                for words, other in others
            ),
        ]
    )


_VERDICTS = (
    (GREEDY, ", both decoded greedily"),
    (VS_BEST, " at the temperature that is best for SFT"),
    (BY_ANNOTATORS, ""),
)


def _outcome(figure: Figure) -> str:
    low, high = figure.low, figure.high
    if low is not None and low > 0.5:
        return "better than"
    if high is not None and high < 0.5:
        return "worse than"
    is_near = low is not None and high is not None and low > 0.5 - SAME_MARGIN and high < 0.5 + SAME_MARGIN
    return "about as good as" if is_near else "not shown to be better or worse than"


def _wins(figure: Figure, confidence: float, missing: Mapping[str, float]) -> str:
    interval = f"{100 * confidence:g} % interval {format_interval(figure, 'rate')}"
    details = [interval] if figure.low is not None else []
    details += [f"{figure.n:,} prompt{'' if figure.n == 1 else 's'}"] if figure.n is not None else []
    absent = missing.get(f"{MISSING}{figure.name.rpartition('/')[2]}")
    details += [f"{format_value(absent, 'rate')} of the pairs without a verdict"] if absent else []
    judge = f", judged by {judged_by(figure)}" if figure.note else ""
    suffix = f" ({', '.join(details)})" if details else ""
    return f"it wins {format_value(figure.value, 'rate')} of comparisons{suffix}{judge}"


def _method(comparisons: Sequence[Comparison], votes: Votes, processes: Processes) -> str:
    raters = processes.largest(max(map(len, votes), default=0))
    missing = processes.total(sum(not row for row in votes))
    same = processes.total(sum(comparison.is_identical for comparison in comparisons))
    parts = [f"{raters} raters per prompt"] if raters > 1 else [] if raters else ["no judge was asked"]
    parts += ["ties count ½"]
    parts += [f"{same} identical pairs are ties"] if same else []
    parts += [f"{missing} missing left out"] if missing else []
    return ", ".join(parts)
