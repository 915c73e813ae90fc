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

from rlaif.functional.statistics import clustered_mean, clustered_rate


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_clustered_mean_is_a_regression_on_a_constant_with_clustered_errors(rng: np.random.Generator) -> None:
    """Of numbers without skewness: every cluster is there once more with the sign turned."""
    groups = np.repeat(np.arange(12), [1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6])
    half = rng.normal(size=groups.size) + rng.normal(size=12)[groups]
    x, groups = np.concatenate([half, -half]), np.concatenate([groups, groups + 12])
    fit = sm.OLS(x, np.ones_like(x)).fit(cov_type="cluster", cov_kwds={"groups": groups}, use_t=True)
    estimate = clustered_mean(x, groups)
    assert estimate.value == pytest.approx(fit.params[0])
    assert (estimate.low, estimate.high) == pytest.approx(tuple(fit.conf_int()[0]))
    assert estimate.n == 24


def test_the_mean_of_symmetric_rows_has_students_interval(rng: np.random.Generator) -> None:
    half = rng.normal(size=15)
    x = 3.0 + np.concatenate([half, -half])
    reference = stats.ttest_1samp(x, 0.0).confidence_interval(0.9)
    estimate = clustered_mean(x, confidence=0.9)
    assert (estimate.low, estimate.high) == pytest.approx((reference.low, reference.high))


def test_a_skewed_mean_has_the_outer_ends_of_students_and_halls_interval(rng: np.random.Generator) -> None:
    """Hall (1992): T + γ T² / 3 √n + γ² T³ / 27 n + γ / 6 √n is normal; at each end of his interval it is t."""
    x = rng.lognormal(size=40)
    estimate = clustered_mean(x)
    student = stats.ttest_1samp(x, 0.0).confidence_interval()
    quantile, skewness = stats.t.ppf(0.975, 39), stats.skew(x)
    assert estimate.low == pytest.approx(student.low) and estimate.high is not None and estimate.high > student.high
    t = (x.mean() - estimate.high) / stats.sem(x)
    hall = t + skewness * t**2 / (3 * 40**0.5) + skewness**2 * t**3 / (27 * 40) + skewness / (6 * 40**0.5)
    assert hall == pytest.approx(-quantile)
    mirrored = clustered_mean(-x)
    assert (mirrored.low, mirrored.high) == pytest.approx((-estimate.high, -student.low))


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


@pytest.mark.parametrize(("big", "share"), [(30, 0.25), (90, 0.5)])
def test_coverage_where_one_prompt_holds_many_rows(rng: np.random.Generator, big: int, share: float) -> None:
    """30 clusters of three rows and a big one, rows of a cluster equal."""
    sizes = np.array([3] * 30 + [big])
    assert big / sizes.sum() == pytest.approx(share)
    index, covered = np.repeat(np.arange(31), sizes), 0
    for _ in range(400):
        values = (rng.random(31) < 0.5).astype(float)[index]
        estimate = clustered_rate(values, index)
        assert estimate.low is not None and estimate.high is not None
        covered += estimate.low <= 0.5 <= estimate.high
    assert covered / 400 > 0.92, "by the number of clusters alone it is 0.90 and 0.83"
