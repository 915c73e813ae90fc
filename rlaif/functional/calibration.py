"""Calibration of probabilities: reliability bins and expected calibration error.

Shapes: B rows, K bins. The state is sums per bin, so parts of the data add up to the whole.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rlaif.functional.statistics import Clusters, Estimate, cluster_index, undefined


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


def expected_calibration_error(sums: BinSums) -> Tensor:
    """Σ_k (n_k / n) |mean outcome - mean probability| (Naeini et al. 2015).

    Returns:
        Scalar in [0, 1]; NaN without rows.

    >>> expected_calibration_error(calibration_sums(torch.tensor([0.75, 0.75]), torch.tensor([0.0, 1.0])))
    tensor(0.2500, dtype=torch.float64)
    """
    return (sums.outcome_K - sums.probability_K).abs().sum() / sums.count_K.sum()


def calibration_error_estimate(
    probability_B: Tensor,
    outcome_B: Tensor,
    clusters: Clusters = None,
    confidence: float = 0.95,
    *,
    num_bins: int = 10,
    num_resamples: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Expected calibration error with a bootstrap interval that resamples whole clusters.

    The error is a sum of absolute values, so noise alone makes it positive, and the usual percentile interval of
    a calibrated labeler never holds 0. The error is wrong by at most Σ_k |noise of bin k's gap| (triangle
    inequality): the lower end takes the upper quantile of that sum, estimated by the gaps' distance between sample
    and resample, off the error. The upper end is the percentile, which noise moves up. Both ends are conservative.

    Args:
        probability_B: Predicted P(outcome) in [0, 1], without NaN.
        outcome_B: What happened: 1, 0, 0.5 for a tie, or a probability, without NaN.
        clusters: Prompt of each row; None makes every row independent.
        confidence: Coverage of the interval.
        num_bins: Equal bins of [0, 1].
        num_resamples: Bootstrap samples.
        seed: Of the bootstrap alone; no other random state is touched.

    >>> calibration_error_estimate(torch.tensor([0.75, 0.75]), torch.tensor([0.0, 1.0])).value
    0.25
    """
    index, num_clusters = cluster_index(clusters, probability_B.numel())
    if not probability_B.numel():
        return undefined(0, "no rows")
    error = float(expected_calibration_error(calibration_sums(probability_B, outcome_B, num_bins)))
    if num_clusters < 2:
        return Estimate(error, None, None, num_clusters, "one cluster has no interval")
    rows = torch.from_numpy(index)
    edges = torch.linspace(0, 1, num_bins + 1, dtype=torch.float64)[1:-1]
    cell_B = rows * num_bins + torch.bucketize(probability_B.double(), edges, right=True)
    gaps_GK = torch.zeros(num_clusters * num_bins, dtype=torch.float64)
    gaps_GK = gaps_GK.index_add(0, cell_B, outcome_B.double() - probability_B.double()).view(num_clusters, num_bins)
    size_G = np.bincount(index, minlength=num_clusters)
    even = np.full(num_clusters, 1.0 / num_clusters)
    drawn_RG = np.random.default_rng(seed).multinomial(num_clusters, even, size=num_resamples)
    drawn_gaps_RK = drawn_RG @ gaps_GK.numpy() / (drawn_RG @ size_G)[:, None]
    errors_R = np.abs(drawn_gaps_RK).sum(1)
    noise_R = np.abs(drawn_gaps_RK - gaps_GK.numpy().sum(0) / size_G.sum()).sum(1)
    quantile = 0.5 + confidence / 2
    low, high = error - float(np.quantile(noise_R, quantile)), float(np.quantile(errors_R, quantile))
    return Estimate(error, max(0.0, low), max(error, high), num_clusters)
