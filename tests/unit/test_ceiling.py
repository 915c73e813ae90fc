"""Shares of the ceiling and paired differences of labelers, on planted cases."""

from __future__ import annotations

import pytest

from rlaif.evaluation.ceiling import against_rater_figures, difference_figures, rater_figures
from rlaif.types import Comparison, Completion, Preference, Prompt

PAIRS = [
    Comparison(
        prompt=Prompt(task="dialogue", text=f"{n}", stratum="seen" if n < 6 else "unseen"),
        first=Completion(text="one"),
        second=Completion(text="two"),
    )
    for n in range(10)
]


def labels(p_first: list[float | None]) -> list[Preference]:
    return [
        Preference(comparison=pair, p_first=p, missing="no answer" if p is None else None, labeler="planted")
        for pair, p in zip(PAIRS, p_first, strict=True)
    ]


def test_the_share_of_the_ceiling_counts_from_one_half() -> None:
    """Right in 7 of 10 where the best can be right in 9 of 10: 0.2 of 0.4; unseen 1 of 4, so below chance."""
    given = labels([0.8] * 6 + [0.8] + [0.1] * 3)
    found = against_rater_figures("L", given, [(1.0,)] * 10, [0.9] * 10, "raters")
    by_name = {figure.name: figure.value for figure in found}
    assert by_name["L/alignment"] == pytest.approx(0.7)
    assert by_name["L/share of ceiling"] == pytest.approx(0.5)
    assert by_name["L/share of ceiling/seen"] == pytest.approx(1.25)
    assert by_name["L/share of ceiling/unseen"] == pytest.approx(-0.625)
    assert by_name["L/missing_rate"] == 0.0


def test_the_ceiling_and_the_agreement_of_two_raters_from_exact_probabilities() -> None:
    found = rater_figures(PAIRS, [(1.0,)] * 10, [1.0] * 8 + [0.0] * 2, [0.9] * 5 + [0.4] * 5, "raters")
    by_name = {figure.name: figure.value for figure in found}
    assert by_name["raters/agreement"] == pytest.approx(0.8)
    assert by_name["raters/perfect labeler against rater 0"] == pytest.approx(0.5)
    assert by_name["raters/ceiling"] == pytest.approx((0.9 + 0.6) / 2)
    assert by_name["raters/expected agreement"] == pytest.approx((0.82 + 0.52) / 2)


def test_differences_are_paired_and_leave_out_what_either_misses() -> None:
    """On the pairs that both judged, the better is right on 5 of 8, the worse on 2 of 8."""
    better = labels([0.9] * 5 + [0.1] * 3 + [None, 0.9])
    worse = labels([0.9] * 2 + [0.1] * 6 + [0.9, None])
    (found,) = difference_figures({"a": better, "b": worse}, [1.0] * 10, [("a", "b")])
    assert (found.name, found.n) == ("a minus b", 8)
    assert found.value == pytest.approx(3 / 8)
