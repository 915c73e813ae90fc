"""Intervals against statsmodels and scipy, and their coverage on planted truth."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from rlaif.functional.statistics import (
    clustered_mean,
    clustered_rate,
    clustered_slope,
    distinct_rate,
    paired_difference,
)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_clustered_mean_is_a_regression_on_a_constant_with_clustered_errors(rng: np.random.Generator) -> None:
    groups = np.repeat(np.arange(12), [1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6])
    x = rng.normal(size=groups.size) + rng.normal(size=12)[groups]
    fit = sm.OLS(x, np.ones_like(x)).fit(cov_type="cluster", cov_kwds={"groups": groups}, use_t=True)
    estimate = clustered_mean(x, groups)
    assert estimate.value == pytest.approx(fit.params[0])
    assert (estimate.low, estimate.high) == pytest.approx(tuple(fit.conf_int()[0]))
    assert estimate.n == 12


def test_clustered_mean_of_independent_rows_is_students_interval(rng: np.random.Generator) -> None:
    x = rng.normal(size=15)
    reference = stats.ttest_1samp(x, 0.0).confidence_interval(0.9)
    estimate = clustered_mean(x, confidence=0.9)
    assert (estimate.low, estimate.high) == pytest.approx((reference.low, reference.high))


@given(st.integers(2, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_rate_of_independent_rows_is_wilsons_interval(case: tuple[int, int]) -> None:
    successes, n = case
    estimate = clustered_rate([1.0] * successes + [0.0] * (n - successes))
    low, high = proportion_confint(successes, n, method="wilson")
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=1e-9)
    assert estimate.low is not None and estimate.high is not None and estimate.low < estimate.high


def test_copies_of_a_row_in_its_cluster_add_no_information(rng: np.random.Generator) -> None:
    x = (rng.random(60) < 0.3).astype(float)
    once = clustered_rate(x)
    copied = clustered_rate(np.repeat(x, 5), np.repeat(np.arange(60), 5))
    assert copied.value == once.value and copied.n == once.n
    # The only difference is Korn and Graubard's degrees of freedom.
    factor = stats.t.ppf(0.975, 299) / stats.t.ppf(0.975, 59)
    low, high = proportion_confint(x.sum() * factor**2, 60 * factor**2, method="wilson")
    assert (copied.low, copied.high) == pytest.approx((low, high))


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_an_interval_always_has_a_width(value: float) -> None:
    estimate = clustered_rate([value] * 400)
    assert estimate.low is not None and estimate.high is not None
    assert 0.002 < estimate.high - estimate.low < 0.02
    assert 0.0 <= estimate.low <= value <= estimate.high <= 1.0


@pytest.mark.parametrize(("rate", "num_clusters", "size"), [(0.05, 60, 3), (0.5, 20, 4), (0.9, 100, 2)])
def test_coverage_with_correlated_rows(rng: np.random.Generator, rate: float, num_clusters: int, size: int) -> None:
    """300 draws with intra-cluster correlation 0.3."""
    concentration = (1 - 0.3) / 0.3
    hits = 0
    for _ in range(300):
        own = rng.beta(rate * concentration, (1 - rate) * concentration, num_clusters)
        x = (rng.random((num_clusters, size)) < own[:, None]).astype(float)
        estimate = clustered_rate(x.ravel(), np.repeat(np.arange(num_clusters), size))
        assert estimate.low is not None and estimate.high is not None
        hits += estimate.low <= rate <= estimate.high
    # Three standard deviations of the share of hits below 95 %.
    assert hits / 300 > 0.95 - 3 * (0.95 * 0.05 / 300) ** 0.5


def test_soft_rates_approach_the_clustered_mean(rng: np.random.Generator) -> None:
    groups = np.repeat(np.arange(500), 2)
    x = np.clip(0.6 + 0.1 * rng.normal(size=500)[groups] + 0.1 * rng.normal(size=1000), 0, 1)
    rate, mean = clustered_rate(x, groups), clustered_mean(x, groups)
    assert (rate.value, rate.low, rate.high) == pytest.approx((mean.value, mean.low, mean.high), abs=1.5e-3)


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


def test_clusters_may_be_strings_or_tensors() -> None:
    x = [0.0, 1.0, 1.0, 1.0]
    estimates = [
        clustered_rate(x, clusters) for clusters in (["p", "q", "p", "r"], torch.tensor([7, 3, 7, 1]), [0, 1, 0, 2])
    ]
    assert estimates[0] == estimates[1] == estimates[2]


@pytest.mark.parametrize("estimator", [clustered_mean, clustered_rate])
def test_nan_is_refused(estimator: object) -> None:
    with pytest.raises(ValueError, match="1 of 3 are NaN"):
        estimator([0.0, float("nan"), 1.0])  # type: ignore[operator]


def test_a_rate_outside_0_and_1_is_refused() -> None:
    with pytest.raises(ValueError, match=r"allowed are 0\.0 to 1\.0"):
        clustered_rate([0.5, 1.5])


@pytest.mark.parametrize("estimator", [clustered_mean, clustered_rate])
def test_no_rows_and_one_cluster(estimator: object) -> None:
    empty = estimator([])  # type: ignore[operator]
    assert (empty.value, empty.low, empty.high, empty.n) == (None, None, None, 0)
    single = estimator([0.0, 1.0], ["p", "p"])  # type: ignore[operator]
    assert (single.value, single.low, single.high, single.n) == (0.5, None, None, 1)


def test_distinct_rate_by_hand_and_against_a_jackknife_loop() -> None:
    texts = ["a", "a", "b", "c", "c", "d", "e", "a", "f", "g"]
    clusters = [0, 0, 0, 1, 1, 2, 2, 3, 4, 5]
    without = []
    for out in range(6):
        kept = [text for text, cluster in zip(texts, clusters, strict=True) if cluster != out]
        without.append(len(set(kept)) / len(kept))
    jackknife = 5 / 6 * sum((x - np.mean(without)) ** 2 for x in without)
    estimate = distinct_rate(texts, clusters)
    assert estimate.value == 0.7 and estimate.n == 6
    variance = (6 * jackknife + 0.7 * 0.3 / 6) / 7
    size = 0.7 * 0.3 / variance * (stats.t.ppf(0.975, 9) / stats.t.ppf(0.975, 5)) ** 2
    assert (estimate.low, estimate.high) == pytest.approx(proportion_confint(0.7 * size, size, method="wilson"))


def test_distinct_rate_at_its_ends() -> None:
    all_different = distinct_rate([str(i) for i in range(50)])
    assert all_different.value == 1.0 and all_different.high == 1.0
    assert all_different.low is not None and all_different.low == pytest.approx(
        proportion_confint(50, 50, method="wilson")[0]
    )
    assert distinct_rate(["same"] * 50).value == 0.02
    assert distinct_rate([]).value is None


def test_slope_and_its_interval_are_those_of_statsmodels() -> None:
    rng = np.random.default_rng(3)
    clusters = np.repeat(np.arange(60), 3)
    x = rng.normal(size=180) + 0.5 * rng.normal(size=60)[clusters]
    y = 0.4 * x + rng.normal(size=180) + rng.normal(size=60)[clusters]
    fit = sm.OLS(y, sm.add_constant(x)).fit(
        cov_type="cluster", cov_kwds={"groups": clusters, "use_correction": False}, use_t=True
    )
    estimate = clustered_slope(x, y, clusters)
    assert estimate.value == pytest.approx(fit.params[1])
    half = stats.t.ppf(0.975, 59) * fit.bse[1] * np.sqrt(60 / 59)
    assert estimate.low == pytest.approx(fit.params[1] - half)
    assert estimate.high == pytest.approx(fit.params[1] + half)


def test_a_slope_needs_two_different_x() -> None:
    assert clustered_slope([1.0, 1.0], [0.0, 1.0]).value is None
    assert clustered_slope([], []).value is None


@pytest.mark.parametrize("scale", [1.0, 1e-12, 1e12])
def test_a_spread_of_rounding_errors_is_none(scale: float) -> None:
    """Unanimous votes of ten judges, summed in two orders, differ in their last bit."""
    x = scale * np.array([0.1 * 3 + 0.6, 0.9, 0.3 + 0.3 + 0.3])
    assert len(set(x.tolist())) > 1
    assert clustered_slope(x, [0.0, 1.0, 1.0]).value is None
    spread = clustered_slope(scale * np.array([0.8, 0.9, 0.7]), [0.0, 1.0, 1.0])
    assert spread.low is not None and spread.value is not None and spread.high is not None
    assert spread.low <= spread.value <= spread.high
