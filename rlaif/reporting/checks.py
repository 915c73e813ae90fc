"""What must hold before a report may be trusted: every check is named, and failed ones stand first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rlaif.reporting.catalog import describe, format_interval, format_value, judged_by
from rlaif.types import Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One statement about a run that either holds or not."""

    name: str
    """What should hold, in words."""
    passed: bool
    detail: str
    """The numbers behind it, and when it fails what that means."""
    figure: str = ""
    """Name of the figure that it reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckLimits:
    """Where a figure stops being trustworthy; rates in [0, 1]."""

    max_missing_rate: float = 0.05
    """Highest share of pairs without a label."""
    max_position_bias: float = 0.4
    """Highest share of pairs where both orders name the same slot."""
    min_alignment: float = 0.6
    """Lowest labeler alignment."""
    max_ece: float = 0.15
    """Highest calibration error of labeler and reward model."""
    min_distinct_rate: float = 0.5
    """Lowest share of distinct responses of the policy; below it the policy has collapsed."""


def run_checks(figures: Iterable[Figure], limits: CheckLimits | None = None) -> list[Check]:
    """Check every figure that has a limit; a figure that is absent is not checked.

    Args:
        figures: The figures of one run.
        limits: Where each figure fails; None takes the defaults.

    Returns:
        Failed checks first, each group in a fixed order.
    """
    limits = limits or CheckLimits()
    by_name = {figure.name: figure for figure in figures}
    checks = [
        *_at_most(by_name, "labeler/missing_rate", limits.max_missing_rate, "few labels are missing"),
        *_at_most(by_name, "labeler/position_bias", limits.max_position_bias, "the labeler reads both slots"),
        *_at_least(by_name, "labeler/alignment", limits.min_alignment, "the labeler's alignment is high enough"),
        *_at_most(by_name, "labeler/ece", limits.max_ece, "the labeler is calibrated"),
        *_above_chance(by_name, "reward_model/accuracy", "the reward model beats chance"),
        *_at_most(by_name, "reward_model/ece", limits.max_ece, "the reward model is calibrated"),
        *_above_chance(by_name, "policy/win_rate_vs_sft", "the policy beats SFT"),
        *_above_chance(by_name, "policy/win_rate_vs_sft_length_controlled", "the policy beats SFT at equal length"),
        *_above_chance(by_name, "policy/win_rate_vs_sft_llm_judge", "the policy beats SFT for the LLM judge"),
        *_not_harmed(by_name),
        *_at_least(by_name, "policy/distinct_rate", limits.min_distinct_rate, "the policy has not collapsed"),
    ]
    return sorted(checks, key=lambda check: check.passed)


def verdict(figures: Iterable[Figure], task: str, confidence: float = 0.95) -> str:
    """One sentence: did the policy get better, by how much, and who says so.

    Reads the win rate by simulated annotators, and where there is none that of the LLM judge.
    """
    by_name = {figure.name: figure for figure in figures}
    figure = by_name.get("policy/win_rate_vs_sft") or by_name.get("policy/win_rate_vs_sft_llm_judge")
    topic = task.replace("_", " ")
    if figure is None:
        return f"{topic.capitalize()}: no win rate was measured in this run."
    outcome = "about as good as"
    if figure.low is not None and figure.low > 0.5:
        outcome = "better than"
    if figure.high is not None and figure.high < 0.5:
        outcome = "worse than"
    rate = f"it wins {format_value(figure.value, 'rate')} of comparisons"
    details = [f"{round(100 * confidence)} % interval {format_interval(figure)}"] if figure.low is not None else []
    details += [f"{figure.n:,} prompts"] if figure.n is not None else []
    judge = f", judged by {judged_by(figure)}" if figure.note else ""
    suffix = f" ({', '.join(details)})" if details else ""
    return f"In {topic} the policy is {outcome} the SFT policy: {rate}{suffix}{judge}."


def _at_most(by_name: dict[str, Figure], name: str, limit: float, claim: str) -> list[Check]:
    if name not in by_name:
        return []
    figure = by_name[name]
    detail = f"{_shown(figure)}; the limit is {format_value(limit, 'rate')}"
    return [Check(name=claim, passed=figure.value <= limit, detail=detail, figure=name)]


def _at_least(by_name: dict[str, Figure], name: str, limit: float, claim: str) -> list[Check]:
    if name not in by_name:
        return []
    figure = by_name[name]
    detail = f"{_shown(figure)}; at least {format_value(limit, 'rate')} is wanted"
    return [Check(name=claim, passed=figure.value >= limit, detail=detail, figure=name)]


def _above_chance(by_name: dict[str, Figure], name: str, claim: str) -> list[Check]:
    if name not in by_name or by_name[name].low is None:
        return []
    figure = by_name[name]
    low, high = figure.low or 0.0, figure.high if figure.high is not None else 1.0
    relation = "lies above" if low > 0.5 else "lies below" if high < 0.5 else "contains"
    detail = f"{_shown(figure)}; the interval {relation} 50 %"
    return [Check(name=claim, passed=low > 0.5, detail=detail, figure=name)]


def _not_harmed(by_name: dict[str, Figure]) -> list[Check]:
    name = "policy/harmless_rate_difference"
    if name not in by_name:
        return []
    figure = by_name[name]
    passed = figure.high is None or figure.high >= 0.0
    return [Check(name="the policy is not more harmful than SFT", passed=passed, detail=_shown(figure), figure=name)]


def _shown(figure: Figure) -> str:
    interval, judge = format_interval(figure), judged_by(figure)
    value = format_value(figure.value, describe(figure.name).unit)
    return value + (f" [{interval}]" if interval else "") + (f" by {judge}" if judge else "")
