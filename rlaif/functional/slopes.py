"""Slope of a line with an interval that holds where few rows lie far out."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from rlaif.functional.statistics import Clusters, Estimate, Values, checked_rows, cluster_index, undefined, varies

Vector = NDArray[np.float64]


def rate_slope(x: Values, y: Values, clusters: Clusters = None, confidence: float = 0.95) -> Estimate:
    """Slope of the least-squares line of rates y on x, clustered.

    The variance is that of the jackknife over clusters, which is on average not too small where few clusters lie far
    out. It is at least the binomial variance around the line, where the fitted rate of a row is pulled to one half by
    four rows against the 1 / leverage that its cluster counts for (Agresti & Coull 1998): outcomes of few far clusters
    that happen to agree would show none. t has as many degrees of freedom as there are effective clusters, less one:
    (Σ v)² / Σ v² over their sums v of (x - x̄)² (Carter, Schnepel & Steigerwald 2017), at most G - 1.

    Args:
        x: N numbers without NaN; where all are equal up to rounding the slope is undefined.
        y: N numbers in [0, 1] without NaN.
        clusters: Label of each row's cluster (its prompt); None makes every row independent.
        confidence: Coverage of the interval.

    >>> round(rate_slope([0.0, 0.25, 0.5, 0.75], [0.0, 0.25, 0.5, 0.75]).value, 6)
    1.0
    """
    a, b = checked_rows("x", x), checked_rows("y", y, low=0.0, high=1.0)
    if a.size != b.size:
        raise ValueError(f"rate_slope: {a.size} rows against {b.size}")
    index, num_clusters = cluster_index(clusters, a.size)
    if not varies(a):
        return undefined(num_clusters, "every x is the same: the slope is undetermined")
    a = a - a.mean()
    slope = float(a @ b / (a @ a))
    if num_clusters < 3:
        return Estimate(slope, None, None, num_clusters, "fewer than three clusters have no interval")
    weight_G = np.bincount(index, a * a)
    variance = max(_jackknife(a, b, index, slope), _binomial(a, b, index, slope))
    degrees = min(num_clusters - 1.0, max(1.0, float(weight_G.sum() ** 2 / (weight_G @ weight_G)) - 1.0))
    half = float(stats.t.ppf(0.5 + confidence / 2, degrees)) * math.sqrt(variance)
    return Estimate(slope, slope - half, slope + half, num_clusters)


def _jackknife(x: Vector, y: Vector, index: NDArray[np.intp], slope: float) -> float:
    """(G - 1) / G times the squared changes of the slope when each cluster is left out; x has mean 0."""
    columns = (np.ones_like(x), x, y, x * x, x * y)
    n, sx, sy, sxx, sxy = (column.sum() - np.bincount(index, column) for column in columns)
    n = np.maximum(n, 1.0)
    spread = sxx - sx * sx / n
    kept = spread > 1e-9 * float(x @ x)  # without the only cluster that lies apart there is no slope
    changes = (sxy - sx * sy / n)[kept] / spread[kept] - slope
    return (sxx.size - 1) / sxx.size * float(changes @ changes)


def _binomial(x: Vector, y: Vector, index: NDArray[np.intp], slope: float) -> float:
    """Variance of the slope if each outcome were drawn from the line, pulled to one half; x has mean 0."""
    spread = float(x @ x)
    leverage_G = np.bincount(index, x * x) / spread + np.bincount(index) / x.size
    counts_for = 1.0 / leverage_G[index]
    rate = (np.clip(y.mean() + slope * x, 0.0, 1.0) * counts_for + 2.0) / (counts_for + 4.0)
    return float((x * x) @ (rate * (1.0 - rate))) / spread**2
