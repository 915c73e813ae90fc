"""Calibration as a metric whose state is one row of sums per bin."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from rlaif.functional.calibration import (
    BinSums,
    Reliability,
    calibration_sums,
    expected_calibration_error,
    reliability,
)


class ExpectedCalibrationError(Metric):
    """Expected calibration error of P(first), with the reliability diagram beside it.

    Args:
        num_bins: Equal bins of [0, 1].

    >>> metric = ExpectedCalibrationError()
    >>> metric.update(torch.tensor([0.75, 0.75]), torch.tensor([0.0, 1.0]))
    >>> metric.compute()
    tensor(0.2500, dtype=torch.float64)
    """

    full_state_update = False
    sums_3K: Tensor

    def __init__(self, *, num_bins: int = 10, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_bins = num_bins
        self.add_state("sums_3K", default=torch.zeros(3, num_bins, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, probability_B: Tensor, outcome_B: Tensor) -> None:
        """Add predicted probabilities and what happened; rows with NaN are left out."""
        self.sums_3K = self.sums_3K + torch.stack(calibration_sums(probability_B, outcome_B, self.num_bins))

    def compute(self) -> Tensor:
        """Scalar in [0, 1]; NaN without rows."""
        return expected_calibration_error(BinSums(*self.sums_3K))

    def reliability(self) -> Reliability:
        """Counts and means per bin, of this process alone unless inside ``sync_context``."""
        return reliability(BinSums(*self.sums_3K))
