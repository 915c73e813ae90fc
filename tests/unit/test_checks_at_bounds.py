"""Checks, verdicts and texts of figures exactly at their bounds, and just beside them."""

from __future__ import annotations

import pytest

from rlaif.evaluation.checks import AboveChance, AtLeast, AtMost, CheckLimits, NotInferior, NotShownAbove
from rlaif.evaluation.control import Control, answer_in_words, control_in_words, control_verdict, rule_in_words
from rlaif.evaluation.formats import format_figure, format_interval, format_seconds, format_value, judged_by
from rlaif.types import Figure

LIMITS = CheckLimits()


def figure(value: float, low: float | None = None, high: float | None = None) -> Figure:
    return Figure(name="mine/rate", value=value, low=low, high=high, n=9, note="people; x")


@pytest.mark.parametrize(("value", "passed"), [(0.19, True), (0.2, True), (0.21, False)])
def test_at_most(value: float, passed: bool) -> None:
    check = AtMost("few", 0.2).check(figure(value), "rate", LIMITS)
    assert (check.name, check.passed, check.figure) == ("few", passed, "mine/rate")
    assert check.detail == f"{100 * value:.1f} % by people; the limit is 20.0 %"


@pytest.mark.parametrize(("value", "passed"), [(0.79, False), (0.8, True), (0.81, True)])
def test_at_least_says_what_to_look_at_where_it_fails(value: float, passed: bool) -> None:
    check = AtLeast("many", 0.8, advice="read some").check(figure(value), "rate", LIMITS)
    assert (check.passed, check.figure) == (passed, "mine/rate")
    assert check.detail.endswith("at least 80.0 % is wanted" + ("" if passed else "; read some"))
    assert AtLeast("many", 0.8).check(figure(0.1), "rate", LIMITS).detail.endswith("is wanted")


def test_a_limit_by_its_name_is_the_runs() -> None:
    rule = AtMost("few", "max_missing_rate")
    assert [rule.check(figure(value), "rate", LIMITS).passed for value in (0.05, 0.06)] == [True, False]
    assert rule.check(figure(0.06), "rate", CheckLimits(max_missing_rate=0.06)).passed


@pytest.mark.parametrize(
    ("value", "low", "passed"),
    [(0.3, 0.15, True), (0.3, 0.16, False), (0.3, 0.0, True), (0.15, None, True), (0.16, None, False)],
)
def test_not_shown_above(value: float, low: float | None, passed: bool) -> None:
    check = NotShownAbove("calibrated", 0.15).check(figure(value, low, None if low is None else 0.5), "rate", LIMITS)
    assert (check.passed, check.figure) == (passed, "mine/rate")
    assert check.detail.endswith("the interval may not begin above 15.0 %")


@pytest.mark.parametrize(
    ("low", "high", "passed", "relation"),
    [
        (0.51, 0.7, True, "is above"),
        (0.5, 0.7, False, "contains"),
        (0.3, 0.5, False, "contains"),
        (0.3, 0.49, False, "is below"),
        (0.3, None, False, "contains"),
        (0.6, None, True, "is above"),
    ],
)
def test_above_chance(low: float, high: float | None, passed: bool, relation: str) -> None:
    check = AboveChance("beats").check(figure(0.5, low, high), "rate", LIMITS)
    assert check is not None and (check.passed, check.figure) == (passed, "mine/rate")
    assert check.detail.endswith(f"the interval {relation} 50 %")


def test_a_rate_without_an_interval_is_not_held_against_chance() -> None:
    assert AboveChance("beats").check(figure(0.9), "rate", LIMITS) is None


@pytest.mark.parametrize(
    ("low", "high", "passed", "words"),
    [
        (-0.049, 0.1, True, "the interval is above −5.0 pp"),
        (-0.05, 0.1, False, "not shown: the interval reaches below −5.0 pp"),
        (-0.2, -0.05, False, "not shown: the interval reaches below −5.0 pp"),
        (-0.2, -0.051, False, "the interval is below −5.0 pp"),
        (None, None, False, "not shown: there is no interval"),
        (None, 0.1, False, "not shown: there is no interval"),
        (-0.2, None, False, "not shown: there is no interval"),
    ],
)
def test_not_inferior(low: float | None, high: float | None, passed: bool, words: str) -> None:
    check = NotInferior("as harmless", "harm_margin").check(figure(0.0, low, high), "difference", LIMITS)
    assert (check.passed, check.figure) == (passed, "mine/rate")
    assert check.detail.endswith(f"; {words}")


@pytest.mark.parametrize(("low", "high"), [(None, 0.4), (0.6, None)])
def test_half_an_interval_gives_no_verdict(low: float | None, high: float | None) -> None:
    assert control_verdict(low, high, min_gain=0.05) == "not shown"


def test_the_rule_of_the_control_in_percent_and_points() -> None:
    words = rule_in_words(0.9, 0.05)
    assert words.startswith("yes: the whole 90 % interval of its win rate against the policy")
    assert "is above 50 %. no: it is not" in words
    assert "below 55 %, which rules out a gain of 5 points. not shown: neither" in words
    assert "rules out" not in rule_in_words(0.9, 0.0)


def test_the_answer_of_a_control_without_interval_and_judge() -> None:
    bare = Figure(name="policy/greedy_win_rate_vs_strong_teacher", value=0.6)
    words = "not shown: against imitation it wins 60.0 % of comparisons, both decoded greedily"
    assert answer_in_words(Control("not shown", bare), 0.9) == words
    assert control_in_words(Control("not shown", bare), 0.9).endswith(f"? N{words[1:]}.")
    told = Figure(name="policy/win_rate_vs_strong_teacher", value=0.6, low=0.55, high=0.65, note="people; sampled")
    assert answer_in_words(Control("yes", told), 0.9) == (
        "yes: against imitation it wins 60.0 % of comparisons, both at evaluation.sampling.temperature,"
        " 90 % interval 55.0–65.0 %, judged by people"
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0.0 s"),
        (9.94, "9.9 s"),
        (9.95, "10 s"),
        (59.4, "59 s"),
        (59.5, "1:00"),
        (61.0, "1:01"),
        (3599.4, "59:59"),
        (3600.0, "1:00:00"),
        (86_399.0, "23:59:59"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert format_seconds(seconds) == format_value(seconds, "seconds") == words


def test_values_with_their_units() -> None:
    assert format_value(0.0, "rate") == "0.0 %" and format_value(1.0, "rate") == "100.0 %"
    assert format_value(-0.031, "difference") == "−3.1 pp" and format_value(0.0, "difference") == "+0.0 pp"
    assert format_value(12.345, "nats") == "12.35 nats" and format_value(80.4, "characters") == "80 chars"
    assert format_value(1234.5, "dollars") == "$1,234.50" and format_value(12345.678, "number") == "1.235e+04"


def test_intervals() -> None:
    assert format_interval(figure(0.5, 0.4, 0.6), "rate", with_unit=False) == "40.0–60.0"
    assert format_interval(figure(0.5, 0.4, None), "rate") == format_interval(figure(0.5, None, 0.6), "rate") == ""
    assert format_interval(figure(70.0, 59.5, 75.0), "seconds") == "1:00 – 1:15"
    assert format_interval(figure(0.0, -0.5, 0.25), "coefficient") == "−0.50 … 0.25"
    assert format_interval(figure(0.0, -0.5, 0.25), "nats") == "−0.50 … 0.25 nats"
    assert format_interval(figure(2.0, 1.0, 3.0), "number") == "1–3"


def test_a_figure_without_interval_and_judge_is_its_value() -> None:
    assert format_figure(Figure(name="a/b", value=0.5), "rate") == "50.0 %"
    assert format_figure(figure(0.5), "rate") == "50.0 % by people"
    assert judged_by(Figure(name="a/b", value=0.5, note="people ; x; y")) == "people"
