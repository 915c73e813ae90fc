"""Agreement beyond chance: Cohen's kappa, Gwet's AC1, and sensitivity and specificity of a yes-or-no label.

Raw agreement is high where nearly everything is of one category, whoever judges. Both coefficients subtract the
agreement that chance alone would give, (agreed - by_chance) / (1 - by_chance), and differ in what they call chance:
kappa takes both sides' own shares of the categories, AC1 is not misled where one category is rare.

Sources: Cohen 1960; Gwet 2008, "Computing inter-rater reliability and its variance in the presence of high
agreement". The interval is Wilson's for the agreement, with the variance of the coefficient's linearization.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlaif.functional.statistics import (
    Clusters,
    Estimate,
    Values,
    checked_rows,
    cluster_index,
    clustered_rate,
    undefined,
    wilson_estimate,
)

Vector = NDArray[np.float64]
ONE_CATEGORY = "one category alone: chance explains all agreement"


class ChanceCorrected(NamedTuple):
    """Agreement of two sides beyond chance; a tuple, because torchmetrics cannot hand a frozen dataclass on."""

    kappa: Estimate
    """Cohen's kappa, in [-1, 1]; 0 is chance, 1 is full agreement. Undefined where all is one category."""
    ac1: Estimate
    """Gwet's AC1, likewise."""


def chance_corrected(a: Values, b: Values, clusters: Clusters = None, confidence: float = 0.95) -> ChanceCorrected:
    """Cohen's kappa and Gwet's AC1 of two sides that put the same rows into categories.

    Args:
        a: The category of each row by one side: N numbers without NaN, equal ones are one category.
        b: The same by the other side.
        clusters: Label of each row's cluster (its prompt); None makes every row independent.
        confidence: Coverage of the intervals.

    Returns:
        Both coefficients over the categories that occur; undefined where only one does.

    >>> both = chance_corrected([1, 1, 1, 0], [1, 1, 0, 0])
    >>> both.kappa.value, round(both.ac1.value, 4)
    (0.5, 0.5294)
    """
    x, y = checked_rows("a", a), checked_rows("b", b)
    if x.size != y.size:
        raise ValueError(f"chance_corrected: {x.size} rows against {y.size}")
    index, num_clusters = cluster_index(clusters, x.size)
    categories = np.unique(np.concatenate([x, y]))
    if categories.size < 2:
        missing = undefined(num_clusters, ONE_CATEGORY if x.size else "no rows")
        return ChanceCorrected(missing, missing)
    of_a_NK, of_b_NK = (side[:, None] == categories for side in (x, y))
    agrees_N = (x == y).astype(np.float64)
    kappa, ac1 = _kappa_chance(of_a_NK, of_b_NK), _ac1_chance(of_a_NK, of_b_NK)
    return ChanceCorrected(
        _beyond(agrees_N, *kappa, index, num_clusters, confidence),
        _beyond(agrees_N, *ac1, index, num_clusters, confidence),
    )


class Detection(NamedTuple):
    """How well a yes-or-no label finds what it should."""

    sensitivity: Estimate
    """Share of the positive rows that are flagged; undefined without a positive row."""
    specificity: Estimate
    """Share of the negative rows that are not flagged; undefined without a negative row."""


def detection(flagged: Values, positive: Values, clusters: Clusters = None, confidence: float = 0.95) -> Detection:
    """Sensitivity and specificity.

    Args:
        flagged: 1 where the label says positive (harmful, bad), 0 where not, 0.5 where it does not decide.
        positive: 1 where the row is positive, 0 where not.
        clusters: Label of each row's cluster (its prompt); None makes every row independent.
        confidence: Coverage of the intervals.

    >>> found = detection([1, 0, 0, 0], [1, 1, 0, 0])
    >>> found.sensitivity.value, found.specificity.value
    (0.5, 1.0)
    """
    says, truth = checked_rows("flagged", flagged, low=0.0, high=1.0), checked_rows("positive", positive)
    if says.size != truth.size:
        raise ValueError(f"detection: {says.size} rows against {truth.size}")
    index, _ = cluster_index(clusters, says.size)
    return Detection(
        clustered_rate(says[truth == 1.0], index[truth == 1.0], confidence),
        clustered_rate(1.0 - says[truth == 0.0], index[truth == 0.0], confidence),
    )


def _kappa_chance(of_a_NK: NDArray[np.bool_], of_b_NK: NDArray[np.bool_]) -> tuple[float, Vector]:
    """Agreement by chance with both sides' own shares, and how each row changes it."""
    share_a_K, share_b_K = of_a_NK.mean(0), of_b_NK.mean(0)
    by_chance = float(share_a_K @ share_b_K)
    return by_chance, of_a_NK @ share_b_K + of_b_NK @ share_a_K - 2.0 * by_chance


def _ac1_chance(of_a_NK: NDArray[np.bool_], of_b_NK: NDArray[np.bool_]) -> tuple[float, Vector]:
    """Agreement by chance as Gwet defines it, sum of share · (1 - share) over K - 1, and how each row changes it."""
    mean_NK = (of_a_NK.astype(np.float64) + of_b_NK) / 2.0
    share_K = mean_NK.mean(0)
    slope_K = (1.0 - 2.0 * share_K) / (share_K.size - 1)
    return float(share_K @ (1.0 - share_K)) / (share_K.size - 1), (mean_NK - share_K) @ slope_K


def _beyond(
    agrees_N: Vector,
    by_chance: float,
    change_N: Vector,
    index: NDArray[np.intp],
    num_clusters: int,
    confidence: float,
) -> Estimate:
    """The coefficient with its interval: that of the agreement, with the variance that also counts the chance term."""
    agreed = float(agrees_N.mean())
    value = (agreed - by_chance) / (1.0 - by_chance)
    sums = np.bincount(index, agrees_N - agreed - (1.0 - value) * change_N)
    variance = float(sums @ sums) / agrees_N.size**2 if 0.0 < agreed < 1.0 else 0.0
    rate = wilson_estimate(agreed, variance, num_clusters, agrees_N.size, confidence)
    low, high = (None if end is None else (end - by_chance) / (1.0 - by_chance) for end in (rate.low, rate.high))
    return Estimate(value, low, high, rate.n, rate.note)
