"""The control of AI feedback: does it gain more than imitating a strong teacher? The rule of its verdict.

Source of the comparison: arXiv 2402.12366, in which most of what AI feedback gains comes from a critic that is stronger
than the teacher whose responses SFT had imitated. The rule is ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from rlaif.evaluation.formats import format_interval, format_value, judged_by
from rlaif.types import Figure

Verdict = Literal["yes", "no", "not shown"]
OPPONENT = "strong_teacher"
"""Name in ``evaluation.against`` of the policy that imitates the strong teacher."""
QUESTION = "Does AI feedback on a policy of the weak teacher gain more than imitating the strong teacher?"
LEADS = (f"policy/greedy_win_rate_vs_{OPPONENT}", f"policy/win_rate_vs_{OPPONENT}")


class Control(NamedTuple):
    """A verdict with the figure that it follows from."""

    verdict: Verdict
    figure: Figure | None
    """None where no win rate was measured."""


def control_verdict(low: float | None, high: float | None, *, min_gain: float) -> Verdict:
    """The verdict on one win rate, from its interval alone.

    Args:
        low: Lower end of the interval of the win rate of AI feedback against imitation, in [0, 1]; None where there is
            no interval.
        high: Its upper end.
        min_gain: Smallest gain over 50 % that would count, in [0, 0.5).

    Returns:
        ``yes`` where the whole interval is above 50 %; ``no`` where it is not and the whole interval is below 50 % plus
        ``min_gain``; else ``not shown``.

    >>> [control_verdict(*ends, min_gain=0.05) for ends in ((0.51, 0.6), (0.4, 0.54), (0.45, 0.56))]
    ['yes', 'no', 'not shown']
    """
    if low is None or high is None:
        return "not shown"
    if low > 0.5:
        return "yes"
    return "no" if high < 0.5 + min_gain else "not shown"


def rule_in_words(confidence: float, min_gain: float) -> str:
    """The rule as it stands beside a verdict."""
    interval = f"the whole {100 * confidence:g} % interval of its win rate"
    ruled_out = f", which rules out a gain of {100 * min_gain:g} points" if min_gain else ""
    return (
        f"yes: {interval} against the policy that imitates the strong teacher is above 50 %. no: it is not, and the"
        f" whole interval is below {100 * (0.5 + min_gain):g} %{ruled_out}. not shown: neither; more prompts"
        " (evaluation.num_prompts) or seeds make the interval narrower."
    )


def judge_control(figures: Iterable[Figure], *, min_gain: float) -> Control:
    """The verdict of a run: by its win rate with both policies decoded greedily, or else sampled; by simulated
    annotators, or else the LLM judge."""
    by_name = {figure.name: figure for figure in figures}
    names = [name for lead in LEADS for name in (lead, f"{lead}_llm_judge")]
    figure = next((by_name[name] for name in names if name in by_name), None)
    if figure is None:
        return Control("not shown", None)
    return Control(control_verdict(figure.low, figure.high, min_gain=min_gain), figure)


def control_in_words(control: Control, confidence: float) -> str:
    """Question and answer, as a report says them."""
    answer = answer_in_words(control, confidence)
    return f"{QUESTION} {answer[0].upper()}{answer[1:]}."


def answer_in_words(control: Control, confidence: float) -> str:
    """Verdict and figure."""
    figure = control.figure
    if figure is None:
        return f"{control.verdict}: no win rate against {OPPONENT} was measured"
    interval = "" if figure.low is None else f", {100 * confidence:g} % interval {format_interval(figure, 'rate')}"
    how = "both decoded greedily" if figure.name.startswith(LEADS[0]) else "both at evaluation.sampling.temperature"
    judge = f", judged by {judged_by(figure)}" if figure.note else ""
    won = format_value(figure.value, "rate")
    return f"{control.verdict}: against imitation it wins {won} of comparisons, {how}{interval}{judge}"
