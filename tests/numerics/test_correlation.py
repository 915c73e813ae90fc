"""Rank correlations against scipy and a worked interval."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from rlaif.functional.correlation import rank_correlation


def test_the_value_is_that_of_ranks_with_ties_at_their_mean() -> None:
    x, y = [0.62, 0.75, 0.75, 0.48, 0.9, 0.7], [0.1, 3.0, 2.0, 2.0, 8.0, 2.0]
    expected = stats.pearsonr(stats.rankdata(x), stats.rankdata(y)).statistic
    assert rank_correlation(x, y).value == pytest.approx(expected)
    assert rank_correlation(x, [-value for value in y]).value == pytest.approx(-expected)


def test_the_interval_is_wider_than_pearsons_by_half_the_square() -> None:
    """Fisher's interval of Pearson's r has the error 1 / √(N − 3); Bonett and Wright multiply it by √(1 + r² / 2)."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=12)
    y = x + rng.normal(size=12)
    found = rank_correlation(x, y, confidence=0.9)
    fisher = stats.pearsonr(stats.rankdata(x), stats.rankdata(y)).confidence_interval(0.9)
    assert found.value is not None and found.low is not None and found.high is not None
    for end, of_fisher in ((found.low, fisher.low), (found.high, fisher.high)):
        wider = (math.atanh(end) - math.atanh(found.value)) / (math.atanh(of_fisher) - math.atanh(found.value))
        assert wider == pytest.approx(math.sqrt(1 + found.value**2 / 2))


@pytest.mark.parametrize(
    ("x", "y", "note"),
    [
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], "fewer than four"),
        ([1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 3.0, 4.0], "one of both does not vary"),
    ],
)
def test_what_has_no_order_has_no_correlation(x: list[float], y: list[float], note: str) -> None:
    found = rank_correlation(x, y)
    assert (found.value, found.low, found.high, found.note) == (None, None, None, note)


def test_equal_orders_have_no_interval() -> None:
    found = rank_correlation([1.0, 2.0, 5.0, 9.0], [4.0, 3.0, 2.0, 1.0])
    assert (found.value, found.low, found.note) == (-1.0, None, "one order is the other's")


def test_columns_of_different_length_and_nan_are_refused() -> None:
    with pytest.raises(ValueError, match="4 values of x for 5 of y"):
        rank_correlation([1.0] * 4, [1.0] * 5)
    with pytest.raises(ValueError, match="NaN"):
        rank_correlation([1.0, 2.0, 3.0, math.nan], [1.0, 2.0, 3.0, 4.0])
