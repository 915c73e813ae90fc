"""Slopes against numpy and statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from rlaif.functional.slopes import rate_slope


def draw(num_clusters: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers x, rates y around a line of slope 0.4, and clusters that share part of x and the luck of y."""
    rng = np.random.default_rng(3)
    clusters = np.repeat(np.arange(num_clusters), size)
    x = 0.5 + 0.2 * rng.random(clusters.size) + 0.2 * rng.random(num_clusters)[clusters]
    return x, (rng.random(num_clusters)[clusters] < 0.4 + 0.4 * (x - 0.7)).astype(float), clusters


def test_slope_is_that_of_numpy_and_its_error_statsmodels_jackknife() -> None:
    """HC3 is the jackknife without the mean of its changes, which is small here."""
    x, y, _ = draw(400, 1)
    fit = sm.OLS(y, sm.add_constant(x)).fit(cov_type="HC3", use_t=True)
    estimate = rate_slope(x, y)
    assert estimate.value == pytest.approx(np.polyfit(x, y, 1)[0]) and estimate.high is not None
    weights = (x - x.mean()) ** 2
    half = stats.t.ppf(0.975, weights.sum() ** 2 / (weights @ weights) - 1) * fit.bse[1]
    assert estimate.high - estimate.value == pytest.approx(half, rel=0.01)


def test_clustered_error_is_a_loop_that_leaves_clusters_out() -> None:
    x, y, clusters = draw(60, 3)
    left_out = [np.polyfit(x[clusters != c], y[clusters != c], 1)[0] for c in range(60)]
    estimate = rate_slope(x, y, clusters)
    assert estimate.value is not None and estimate.low is not None
    error = (59 / 60 * np.sum((np.array(left_out) - estimate.value) ** 2)) ** 0.5
    weights = np.bincount(clusters, (x - x.mean()) ** 2)
    degrees = weights.sum() ** 2 / (weights @ weights) - 1
    assert estimate.value - estimate.low == pytest.approx(stats.t.ppf(0.975, degrees) * error)


def test_few_far_rows_that_agree_are_not_taken_for_certain() -> None:
    """Four of 200 rows lie far out and happen to be right: four Bernoulli outcomes leave their rate open."""
    x, y = np.concatenate([np.full(196, 0.5), np.ones(4)]), np.concatenate([np.tile([0.0, 1.0], 98), np.ones(4)])
    estimate = rate_slope(x, y)
    assert estimate.value == pytest.approx(1.0) and estimate.low is not None and estimate.low < 0.2


def test_a_slope_needs_two_different_x() -> None:
    assert rate_slope([1.0, 1.0], [0.0, 1.0]).value is None
    assert rate_slope([], []).value is None


def test_two_clusters_have_no_interval() -> None:
    estimate = rate_slope([0.0, 1.0, 0.0], [0.0, 1.0, 0.5], ["a", "b", "a"])
    assert (estimate.low, estimate.n) == (None, 2) and estimate.value == pytest.approx(0.75)


def test_the_only_cluster_that_lies_apart() -> None:
    """Without it there is no slope; the interval comes from the others and from binomial noise."""
    estimate = rate_slope([0.5] * 9 + [1.0], [0.0, 1.0] * 4 + [1.0, 1.0])
    assert estimate.low is not None and estimate.high is not None and np.isfinite([estimate.low, estimate.high]).all()


@pytest.mark.parametrize("scale", [1.0, 1e-12, 1e12])
def test_a_spread_of_rounding_errors_is_none(scale: float) -> None:
    """Unanimous votes of ten judges, summed in two orders, differ in their last bit."""
    x = scale * np.array([0.1 * 3 + 0.6, 0.9, 0.3 + 0.3 + 0.3])
    assert len(set(x.tolist())) > 1
    assert rate_slope(x, [0.0, 1.0, 1.0]).value is None
    spread = rate_slope(scale * np.array([0.8, 0.9, 0.7]), [0.0, 1.0, 1.0])
    assert spread.low is not None and spread.value is not None and spread.high is not None
    assert spread.low <= spread.value <= spread.high
