"""Means and rates with intervals that know which rows share a prompt.

Rows of one cluster (a prompt) are not independent, so the unit of every interval is the cluster, and ``n``
counts clusters. NaN is refused: what is missing is left out and counted by the caller.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

Values = Sequence[float] | NDArray[np.floating] | Tensor
Clusters = Sequence[Hashable] | NDArray[np.generic] | Tensor | None


class Estimate(NamedTuple):
    """A figure with its interval; a tuple, because torchmetrics cannot hand a frozen dataclass on."""

    value: float | None
    """None when the data do not determine it; ``note`` says why."""
    low: float | None
    """Lower end of the interval; None when undefined (fewer than two clusters)."""
    high: float | None
    n: int
    """Number of clusters (prompts)."""
    note: str = ""
    """Why the value is undefined, or what was left out."""


def undefined(n: int, reason: str) -> Estimate:
    """An estimate that the data do not determine.

    >>> undefined(0, "no rows").value is None
    True
    """
    return Estimate(None, None, None, n, reason)


def checked_rows(name: str, values: Values, *, low: float = -math.inf, high: float = math.inf) -> NDArray[np.float64]:
    """Values as a float64 vector.

    Raises:
        ValueError: An entry is NaN or outside [low, high], or the values are not one row of numbers.
    """
    vector = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, dtype=np.float64)
    if vector.ndim != 1:
        raise ValueError(f"{name}: expected one dimension, got shape {vector.shape}")
    if np.isnan(vector).any():
        raise ValueError(f"{name}: {np.isnan(vector).sum()} of {vector.size} are NaN; leave missing rows out first")
    if vector.size and not (low <= vector.min() and vector.max() <= high):
        raise ValueError(f"{name}: values from {vector.min()} to {vector.max()}, allowed are {low} to {high}")
    return vector


ROUNDING = 1e-9
"""Relative difference below which two numbers of a column are the same number, computed in two ways."""


def varies(values: NDArray[np.float64]) -> bool:
    """False where all values are equal up to rounding, or there are none: a spread of rounding errors says nothing.

    >>> varies(np.array([0.1 + 0.2, 0.3])), varies(np.array([1e-30, 2e-30]))
    (False, True)
    """
    return bool(values.size) and bool(np.ptp(values) > ROUNDING * np.abs(values).max())


def cluster_index(clusters: Clusters, num_rows: int) -> tuple[NDArray[np.intp], int]:
    """Number the clusters 0, 1, ... and count them; every row is its own cluster when None.

    >>> cluster_index(["b", "a", "b"], 3)[1]
    2
    """
    if clusters is None:
        return np.arange(num_rows), num_rows
    labels = clusters.tolist() if isinstance(clusters, Tensor | np.ndarray) else list(clusters)
    if len(labels) != num_rows:
        raise ValueError(f"clusters: {len(labels)} for {num_rows} rows")
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    return np.array([numbers[label] for label in labels], dtype=np.intp), len(numbers)


def clustered_mean(values: Values, clusters: Clusters = None, confidence: float = 0.95) -> Estimate:
    """Mean with an interval that knows clusters and skewness. For rates use :func:`clustered_rate`.

    The variance is G/(G-1) Σ_c (Σ_{i in c} x_i - x̄)² / N², as of a regression on a constant with clustered errors
    (Liang & Zeger 1986). Each end is the outer one of Student's interval with G - 1 degrees of freedom and of Hall's
    (1992), whose cubic transformation takes the skewness of the clusters' sums off t: Student's alone misses the mean
    of 32 lognormal numbers in 13 % of all cases, this one in 7 %.

    Args:
        values: N numbers without NaN.
        clusters: Label of each row's cluster (its prompt); None makes every row independent.
        confidence: Coverage of the interval.

    >>> estimate = clustered_mean([1.0, 2.0, 3.0, 6.0], clusters=["a", "a", "b", "b"])
    >>> estimate.value, estimate.n
    (3.0, 2)
    """
    x = checked_rows("values", values)
    index, num_clusters = cluster_index(clusters, x.size)
    if not x.size:
        return undefined(0, "no rows")
    mean = float(x.mean())
    if num_clusters < 2:
        return Estimate(mean, None, None, num_clusters, "one cluster has no interval")
    residuals = np.asarray(np.bincount(index, x - mean), dtype=np.float64)
    error = math.sqrt(num_clusters / (num_clusters - 1) * float(residuals @ residuals)) / x.size
    quantile = float(stats.t.ppf(0.5 + confidence / 2, num_clusters - 1))
    below, above = (_without_skewness(end, residuals) for end in (quantile, -quantile))
    return Estimate(mean, mean - max(quantile, below) * error, mean + max(quantile, -above) * error, num_clusters)


def _without_skewness(t: float, residuals: NDArray[np.float64]) -> float:
    """The t of the sum of skewed numbers that is as unlikely as ``t`` is of normal ones (Hall 1992, cubic).

    Args:
        t: In standard errors.
        residuals: Of each cluster from the mean, their sum 0.
    """
    n, spread = residuals.size, float(residuals @ residuals) / residuals.size
    skewness = float((residuals**3).mean()) / spread**1.5 if varies(residuals) else 0.0
    if abs(skewness) < ROUNDING:
        return t
    bend = skewness / 3.0
    root = 1.0 + 3.0 * bend * (t / math.sqrt(n) - skewness / (6.0 * n))
    return math.sqrt(n) * (math.copysign(abs(root) ** (1.0 / 3.0), root) - 1.0) / bend


def clustered_rate(values: Values, clusters: Clusters = None, confidence: float = 0.95) -> Estimate:
    """Mean of numbers in [0, 1] (ties may count 0.5) with a Wilson interval on the effective sample size.

    The effective size is p(1-p)/variance, with the clustered variance taken together with one more cluster of
    the largest variance that p allows, times (t_{N-1}/t_{G-1})² (Korn & Graubard 1998). Without clusters and ties
    this is Wilson's interval exactly; with 0 or all successes, or only ties, it keeps a width.

    Args:
        values: N numbers in [0, 1] without NaN.
        clusters: Label of each row's cluster (its prompt); None makes every row independent.
        confidence: Coverage of the interval.

    >>> never = clustered_rate([0.0] * 10)
    >>> never.value, never.low, round(never.high, 4)
    (0.0, 0.0, 0.2775)
    """
    x = checked_rows("values", values, low=0.0, high=1.0)
    index, num_clusters = cluster_index(clusters, x.size)
    if not x.size:
        return undefined(0, "no rows")
    rate = float(x.mean())
    residuals = np.bincount(index, x - rate)
    variance = float(residuals @ residuals) / x.size**2
    return wilson_estimate(rate, variance, num_clusters, x.size, confidence, effective_clusters(index))


def effective_clusters(index: NDArray[np.intp]) -> float:
    """(Σ n)² / Σ n² over the rows n of each cluster: as many clusters of one size say as much (Carter et al. 2017).

    >>> effective_clusters(np.array([0, 0, 1, 1])), effective_clusters(np.array([0, 0, 0, 1]))
    (2.0, 1.6)
    """
    sizes = np.bincount(index).astype(np.float64)
    return float(sizes.sum() ** 2 / (sizes @ sizes))


def wilson_estimate(
    rate: float,
    variance: float,
    num_clusters: int,
    num_rows: int,
    confidence: float,
    num_effective: float | None = None,
) -> Estimate:
    """Wilson's score interval at the effective sample size that the variance of the rate implies.

    Args:
        rate: In [0, 1].
        variance: Of the rate, clustered, without the factor G/(G-1); 0 where the rate is 0 or 1.
        num_clusters: G.
        num_rows: N.
        confidence: Coverage of the interval.
        num_effective: Clusters of one size that say as much, for the degrees of freedom; None takes G.
    """
    if num_clusters < 2:
        return Estimate(rate, None, None, num_clusters, "one cluster has no interval")
    degrees = max(1.0, min(num_clusters, num_effective or num_clusters) - 1.0)
    binomial = rate * (1.0 - rate)
    variance = (num_clusters * variance + binomial / num_clusters) / (num_clusters + 1)
    size = binomial / variance if variance > 0 else float(num_clusters)
    quantile = 0.5 + confidence / 2
    size *= float(stats.t.ppf(quantile, num_rows - 1) / stats.t.ppf(quantile, degrees)) ** 2
    z2 = float(stats.norm.ppf(quantile)) ** 2
    center = (rate + z2 / (2 * size)) / (1 + z2 / size)
    half = math.sqrt(z2 * binomial / size + z2 * z2 / (4 * size * size)) / (1 + z2 / size)
    low = 0.0 if rate == 0.0 else center - half
    high = 1.0 if rate == 1.0 else center + half
    return Estimate(rate, low, high, num_clusters)
