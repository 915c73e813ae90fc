"""Correlations with their intervals: of numbers in clusters, and of ranks."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from rlaif.functional.statistics import (
    Clusters,
    Estimate,
    Values,
    checked_rows,
    cluster_index,
    undefined,
    varies,
)


def clustered_correlation(
    x: Values, y: Values, clusters: Clusters = None, *, about_zero: bool = False, confidence: float = 0.95
) -> Estimate:
    """Pearson's correlation. The interval is Student's on Fisher's scale, z = artanh r, with a clustered error.

    The error follows from the influence of a row on r, z_x z_y - r (z_x² + z_y²) / 2 with z in standard units, added
    up within clusters (delta method); for independent normal rows it is 1 / √N, as Fisher's.

    Args:
        x: N numbers.
        y: N numbers.
        clusters: Label of each row's cluster (its prompt); None makes every row independent.
        about_zero: Take deviations from 0: for differences of two responses, whose sign is that of their order.
        confidence: Coverage of the interval.

    Returns:
        A number in [-1, 1]; undefined where a column does not vary, or with fewer than four clusters.

    Raises:
        ValueError: A number is NaN, or the columns differ in length.

    >>> round(clustered_correlation([1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0]).value, 2)
    0.8
    """
    one, two = checked_rows("x", x), checked_rows("y", y)
    if one.size != two.size:
        raise ValueError(f"clustered_correlation: {one.size} values of x for {two.size} of y")
    index, num_clusters = cluster_index(clusters, one.size)
    if num_clusters < 4:
        return undefined(num_clusters, "fewer than four prompts")
    if not about_zero:
        one, two = one - one.mean(), two - two.mean()
    if not (_moves(one, about_zero) and _moves(two, about_zero)):
        return undefined(num_clusters, "one of both does not vary")
    z_x, z_y = one / math.sqrt(float(one @ one) / one.size), two / math.sqrt(float(two @ two) / two.size)
    r = float(z_x @ z_y) / one.size
    if abs(r) >= 1.0 - 1e-12:
        return Estimate(math.copysign(1.0, r), None, None, num_clusters, "all rows are on one line")
    influence = np.bincount(index, z_x * z_y - r * (z_x * z_x + z_y * z_y) / 2.0)
    factor = num_clusters / (num_clusters - 1)
    error = math.sqrt(factor * float(influence @ influence)) / one.size / (1.0 - r * r)
    half = float(stats.t.ppf(0.5 + confidence / 2, num_clusters - 1)) * error
    return Estimate(r, math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half), num_clusters)


def _moves(values: NDArray[np.float64], about_zero: bool) -> bool:
    return bool(np.any(values != 0.0)) if about_zero else varies(values)


def rank_correlation(x: Values, y: Values, *, confidence: float = 0.95) -> Estimate:
    """Spearman's rank correlation of independent rows, ties at their mean rank.

    The interval is normal on Fisher's scale with the error √((1 + r²/2) / (N − 3)) (Bonett & Wright 2000, eq. 4).

    Args:
        x: N numbers.
        y: N numbers.
        confidence: Coverage of the interval.

    Returns:
        A number in [-1, 1]; undefined where a column does not vary, or with fewer than four rows.

    Raises:
        ValueError: A number is NaN, or the columns differ in length.

    >>> rank_correlation([1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 40.0]).value
    0.8
    """
    one, two = checked_rows("x", x), checked_rows("y", y)
    if one.size != two.size:
        raise ValueError(f"rank_correlation: {one.size} values of x for {two.size} of y")
    if one.size < 4:
        return undefined(one.size, "fewer than four")
    if not (varies(one) and varies(two)):
        return undefined(one.size, "one of both does not vary")
    r = round(float(stats.spearmanr(one, two).statistic), 12)
    if abs(r) == 1.0:
        return Estimate(r, None, None, one.size, "one order is the other's")
    half = float(stats.norm.ppf(0.5 + confidence / 2)) * math.sqrt((1.0 + r * r / 2.0) / (one.size - 3))
    return Estimate(r, math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half), one.size)
