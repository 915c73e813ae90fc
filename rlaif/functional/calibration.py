"""Calibration of probabilities: reliability bins and a calibration error without the part that noise adds.

Shapes: B rows, K bins, M cells: the rows of one cluster in one bin. The sums of bins of parts add up to the whole's.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from scipy.special import chndtrinc
from torch import Tensor

from rlaif.functional.statistics import Clusters, Estimate, cluster_index, undefined

Vector = NDArray[np.float64]


class BinSums(NamedTuple):
    """Sums over the rows whose probability falls into each of K equal bins of [0, 1]."""

    count_K: Tensor
    probability_K: Tensor
    outcome_K: Tensor


def calibration_sums(probability_B: Tensor, outcome_B: Tensor, num_bins: int = 10) -> BinSums:
    """Sort rows into equal bins of their probability, the last one closed on the right.

    Args:
        probability_B: Predicted P(outcome) in [0, 1]; a row with NaN (missing) is left out.
        outcome_B: What happened: 1, 0, 0.5 for a tie, or a probability; a row with NaN is left out.
        num_bins: K.

    Returns:
        float64 sums, each [K].

    >>> calibration_sums(torch.tensor([0.1, 0.9, 1.0]), torch.tensor([0.0, 1.0, 1.0]), num_bins=2).count_K
    tensor([1., 2.], dtype=torch.float64)
    """
    present_B = ~(torch.isnan(probability_B) | torch.isnan(outcome_B))
    probability_N, outcome_N = probability_B[present_B].double(), outcome_B[present_B].double()
    inner_edges = torch.linspace(0, 1, num_bins + 1, dtype=torch.float64, device=probability_N.device)[1:-1]
    bin_N = torch.bucketize(probability_N, inner_edges, right=True)
    empty_K = torch.zeros(num_bins, dtype=torch.float64, device=probability_N.device)
    columns = (torch.ones_like(probability_N), probability_N, outcome_N)
    return BinSums(*(empty_K.index_add(0, bin_N, column_N) for column_N in columns))


class Reliability(NamedTuple):
    """The bars of a reliability diagram."""

    count_K: Tensor
    """Rows in each bin."""
    mean_probability_K: Tensor
    """Mean predicted probability; NaN in an empty bin."""
    mean_outcome_K: Tensor
    """Share of outcomes; NaN in an empty bin."""


def reliability(sums: BinSums) -> Reliability:
    """Means per bin.

    >>> reliability(calibration_sums(torch.tensor([0.25, 0.75]), torch.tensor([0.0, 1.0]), 2)).mean_outcome_K
    tensor([0., 1.], dtype=torch.float64)
    """
    return Reliability(sums.count_K, sums.probability_K / sums.count_K, sums.outcome_K / sums.count_K)


def calibration_error(
    probability_B: Tensor,
    outcome_B: Tensor,
    clusters: Clusters = None,
    confidence: float = 0.95,
    *,
    num_bins: int = 10,
) -> Estimate:
    """Root mean square calibration error over bins, without the part that noise adds.

    The mean over rows of the squared gap between outcome and probability of a row's bin is too high by the variance
    of the gaps: a calibrated labeler reads 12 % on 64 rows. That variance is subtracted (Kumar et al. 2019,
    "Verified uncertainty calibration"; Ferro & Fricker 2012 for the reliability of the Brier score), clustered, so
    that the squared error is right in the mean, also where it is 0. The value is the root of the difference, with the
    difference's sign: below 0 the gaps are smaller than noise alone would make them. Whoever averages several values
    would be misled if these were cut off at 0.

    The squared error before the subtraction is close to a noncentral chi-square variable, scaled and with the degrees
    of freedom that match mean and variance of its noise (Satterthwaite 1946); the interval holds the noncentralities
    that it does not reject. A row in a bin without a second cluster says nothing about noise and is left out.

    Args:
        probability_B: Predicted P(outcome) in [0, 1], without NaN.
        outcome_B: What happened: 1, 0, 0.5 for a tie, or a probability, without NaN.
        clusters: Prompt of each row; None makes every row independent.
        confidence: Coverage of the interval.
        num_bins: Equal bins of [0, 1].

    Returns:
        The error in [-1, 1]; undefined where no bin has rows of two clusters.

    >>> outcome = torch.tensor([1.0, 1.0, 1.0, 0.0] * 25)
    >>> calibration_error(torch.full((100,), 0.75), outcome).high < 0.12
    True
    >>> round(calibration_error(torch.full((100,), 0.35), outcome).value, 2)
    0.4
    """
    index, num_clusters = cluster_index(clusters, probability_B.numel())
    if not probability_B.numel():
        return undefined(0, "no rows")
    share_K, gap_K, variance_K = _gaps(probability_B, outcome_B, index, num_clusters, num_bins)
    if not share_K.size:
        return undefined(num_clusters, "no bin holds rows of two prompts")
    squared, noise_K = float(share_K @ gap_K**2), share_K * variance_K
    excess = squared - float(noise_K.sum())
    value = math.copysign(math.sqrt(abs(excess)), excess)
    if not noise_K.any():
        return Estimate(value, None, None, num_clusters, "rows of one bin are alike: there is no interval")
    scale = float(noise_K @ noise_K) / float(noise_K.sum())
    degrees = float(noise_K.sum()) / scale
    tail = 0.5 - confidence / 2
    ends = (math.sqrt(scale * _noncentrality(squared / scale, degrees, level)) for level in (1 - tail, tail))
    low, high = ends
    return Estimate(value, min(value, low), max(value, high), num_clusters)


def _gaps(
    probability_B: Tensor, outcome_B: Tensor, index: NDArray[np.intp], num_clusters: int, num_bins: int
) -> tuple[Vector, Vector, Vector]:
    """Of each bin with two clusters or more: its share of the rows, its gap, and the variance of the gap."""
    edges = torch.linspace(0, 1, num_bins + 1, dtype=torch.float64)[1:-1]
    bin_B = torch.bucketize(probability_B.double().cpu(), edges, right=True).numpy()
    difference_B = (outcome_B.double() - probability_B.double()).cpu().numpy()
    cell_M, cell_B = np.unique(bin_B * num_clusters + index, return_inverse=True)
    rows_M, sum_M, bin_M = np.bincount(cell_B), np.bincount(cell_B, difference_B), cell_M // num_clusters
    clusters_K, rows_K = np.bincount(bin_M, minlength=num_bins), np.bincount(bin_M, rows_M, minlength=num_bins)
    kept_K = clusters_K > 1
    gap_K = np.bincount(bin_M, sum_M, minlength=num_bins) / np.maximum(rows_K, 1)
    squares_K = np.bincount(bin_M, (sum_M - rows_M * gap_K[bin_M]) ** 2, minlength=num_bins)[kept_K]
    rows_K, clusters_K = rows_K[kept_K], clusters_K[kept_K]
    return rows_K / rows_K.sum(), gap_K[kept_K], clusters_K / (clusters_K - 1) * squares_K / rows_K**2


def _noncentrality(x: float, degrees: float, level: float) -> float:
    """The noncentrality at which a chi-square variable is below x with the probability ``level``; 0 where none is."""
    return float(chndtrinc(x, degrees, level)) if float(stats.chi2.cdf(x, degrees)) > level else 0.0
