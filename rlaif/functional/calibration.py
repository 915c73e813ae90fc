"""Calibration of probabilities: reliability bins and expected calibration error.

Shapes: B rows, K bins. The state is sums per bin, so parts of the data add up to the whole.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


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
