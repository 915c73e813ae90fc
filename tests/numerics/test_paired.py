"""Paired differences against McNemar's test, a numerical likelihood and Student's interval."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar

from rlaif.functional.paired import paired_difference


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def rows(above: int, below: int, num_rows: int) -> tuple[list[float], list[float]]:
    """Only the first side succeeds in ``above`` rows, only the second in ``below``, both in the others."""
    rest = num_rows - above - below
    return [1.0] * above + [0.0] * below + [1.0] * rest, [0.0] * above + [1.0] * below + [1.0] * rest


def test_without_discordant_rows_the_width_is_wilsons_for_none() -> None:
    estimate = paired_difference(*rows(0, 0, 50))
    assert (estimate.value, estimate.low) == (0.0, -estimate.high if estimate.high is not None else None)
    assert estimate.high == pytest.approx(1.959964**2 / (50 + 1.959964**2), rel=1e-4)


@pytest.mark.parametrize(("above", "below"), [(9, 2), (6, 1), (5, 1), (4, 0), (3, 0), (30, 15), (26, 15)])
def test_zero_is_inside_where_mcnemars_test_does_not_reject(above: int, below: int) -> None:
    estimate = paired_difference(*rows(above, below, 200))
    assert estimate.low is not None and estimate.high is not None
    test = mcnemar([[200 - above - below, above], [below, 0]], exact=False, correction=False)
    assert (estimate.low <= 0.0 <= estimate.high) == (test.pvalue >= 0.05)


@pytest.mark.parametrize(("above", "below", "num_rows"), [(9, 2, 32), (0, 1, 44), (20, 4, 100), (1, 30, 60)])
def test_at_an_end_the_score_test_is_at_its_limit(above: int, below: int, num_rows: int) -> None:
    """The variance under a difference, from its likelihood maximized by scipy."""
    estimate = paired_difference(*rows(above, below, num_rows))
    for end in (estimate.low, estimate.high):
        assert end is not None

        def loss(share_below: float, difference: float = end) -> float:
            both = 1.0 - 2.0 * share_below - difference
            return -(
                above * np.log(share_below + difference)
                + below * np.log(share_below)
                + (num_rows - above - below) * np.log(both)
            )

        bounds = (max(0.0, -end) + 1e-12, (1.0 - end) / 2 - 1e-12)
        likeliest = optimize.minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x
        variance = (2 * likeliest + end - end**2) / num_rows
        assert ((above - below) / num_rows - end) ** 2 / variance == pytest.approx(1.959964**2, rel=1e-3)


def test_one_side_always_better() -> None:
    estimate = paired_difference([1.0] * 30, [0.0] * 30)
    assert estimate.value == estimate.high == 1.0 and estimate.low is not None and 0.7 < estimate.low < 1.0


def test_paired_difference_is_tighter_than_the_rows_apart_and_near_students(rng: np.random.Generator) -> None:
    a = (rng.random(600) < 0.7).astype(float)
    b = np.where(rng.random(600) < 0.9, a, 1 - a)
    estimate = paired_difference(a, b)
    reference = stats.ttest_rel(a, b).confidence_interval()
    assert (estimate.low, estimate.high) == pytest.approx((reference.low, reference.high), abs=3e-3)
    assert estimate.value == pytest.approx(a.mean() - b.mean())


def test_paired_difference_changes_sign_with_its_sides(rng: np.random.Generator) -> None:
    a, b = rng.random(30), rng.random(30)
    forth, back = paired_difference(a, b), paired_difference(b, a)
    assert back.low is not None and back.high is not None
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low))


def test_copies_of_a_row_in_its_cluster_add_no_information(rng: np.random.Generator) -> None:
    a, b = (rng.random((2, 60)) < 0.5).astype(float)
    once = paired_difference(a, b)
    copied = paired_difference(np.repeat(a, 5), np.repeat(b, 5), np.repeat(np.arange(60), 5))
    assert copied.value == pytest.approx(once.value) and copied.n == 60
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high), abs=4e-3)  # degrees of freedom
    apart = paired_difference(np.repeat(a, 5), np.repeat(b, 5))
    assert apart.low is not None and once.low is not None and apart.low > once.low + 0.05


def test_no_rows_one_cluster_and_wrong_numbers() -> None:
    assert paired_difference([], []).value is None
    one = paired_difference([1.0, 1.0], [0.0, 0.0], ["p", "p"])
    assert (one.value, one.low, one.n) == (1.0, None, 1)
    with pytest.raises(ValueError, match="2 rows against 1"):
        paired_difference([1.0, 0.0], [1.0])
