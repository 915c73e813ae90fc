"""Difference of two rates on the same rows, with Tango's score interval at the effective sample size."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import stats
from scipy.optimize import brentq

from rlaif.functional.statistics import (
    Clusters,
    Estimate,
    Values,
    checked_rows,
    cluster_index,
    effective_clusters,
    undefined,
)

NUDGE = 1e-12
"""How far from the value the search for an end begins."""


def paired_difference(
    values_a: Values, values_b: Values, clusters: Clusters = None, confidence: float = 0.95
) -> Estimate:
    """Mean of a - b over rows that belong together, for numbers in [0, 1].

    With outcomes 0 and 1 and without clusters the interval is Tango's (1998): the differences that the score test does
    not reject, which for 0 is McNemar's test. It counts discordant rows, so it stays near its coverage where there
    are few of them, and keeps a width where there is none. With clusters and numbers between, a row adds its difference
    to the discordant share of its sign, and the number of rows is the one that gives the clustered variance, times
    (t_{N-1}/t_{G-1})² as in :func:`rlaif.functional.statistics.clustered_rate`.

    Args:
        values_a: N numbers in [0, 1] without NaN.
        values_b: The same of the other side.
        clusters: Label of each row's cluster (its prompt); None makes every row independent.
        confidence: Coverage of the interval.

    >>> paired_difference([1.0, 1.0, 0.0, 1.0], [0.0, 1.0, 0.0, 1.0]).value
    0.25
    """
    a = checked_rows("values_a", values_a, low=0.0, high=1.0)
    b = checked_rows("values_b", values_b, low=0.0, high=1.0)
    if a.size != b.size:
        raise ValueError(f"paired_difference: {a.size} rows against {b.size}")
    index, num_clusters = cluster_index(clusters, a.size)
    if not a.size:
        return undefined(0, "no rows")
    d = a - b
    mean = float(d.mean())
    if num_clusters < 2:
        return Estimate(mean, None, None, num_clusters, "one cluster has no interval")
    above, below = float(np.maximum(d, 0.0).mean()), float(np.maximum(-d, 0.0).mean())
    residuals = np.bincount(index, d - mean)
    variance = float(residuals @ residuals) / d.size**2
    spread = above + below - mean * mean
    size = spread / variance if variance > 0.0 and spread > 0.0 else float(num_clusters)
    quantile = 0.5 + confidence / 2
    degrees = max(1.0, effective_clusters(index) - 1.0)
    size *= float(stats.t.ppf(quantile, d.size - 1) / stats.t.ppf(quantile, degrees)) ** 2
    low, high = score_interval(above * size, below * size, size, float(stats.norm.ppf(quantile)))
    return Estimate(mean, min(mean, low), max(mean, high), num_clusters)


def score_interval(above: float, below: float, size: float, z: float) -> tuple[float, float]:
    """Tango's interval of (above - below) / size, by search.

    Args:
        above: Rows where only the first side succeeds; need not be whole.
        below: Rows where only the second side does.
        size: All rows.
        z: Quantile of the normal distribution.
    """
    value = (above - below) / size

    def excess(difference: float) -> float:
        return (value - difference) ** 2 - z * z * _variance(difference, above, below, size)

    return _end(excess, value, -1.0), _end(excess, value, 1.0)


def _end(excess: Callable[[float], float], value: float, furthest: float) -> float:
    """Where the score test is at its limit, between the value and -1 or 1; the furthest where it never rejects."""
    start, stop = value + math.copysign(NUDGE, furthest), furthest * (1.0 - NUDGE)
    if abs(start) >= abs(stop) and start * furthest > 0.0:
        return furthest
    return float(brentq(excess, start, stop)) if excess(start) < 0.0 < excess(stop) else furthest


def _variance(difference: float, above: float, below: float, size: float) -> float:
    """Of the mean difference, with the discordant shares that are likeliest if ``difference`` is true."""
    linear = -above - below + (2.0 * size - above + below) * difference
    product = -below * difference * (1.0 - difference)
    share_below = (math.sqrt(max(0.0, linear * linear - 8.0 * size * product)) - linear) / (4.0 * size)
    return max(0.0, 2.0 * share_below + difference - difference * difference) / size
