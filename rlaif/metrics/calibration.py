"""Calibration as metrics that keep their rows, because noise is counted by prompt."""

from __future__ import annotations

from torch import Tensor

from rlaif.functional.calibration import Reliability, calibration_error, calibration_sums, reliability
from rlaif.functional.statistics import Estimate
from rlaif.metrics.clustered import ClusteredRows


class CalibrationError(ClusteredRows):
    """Root mean square calibration error of probabilities, noise taken off, with an interval clustered by prompt.

    Args:
        num_bins: Equal bins of [0, 1].
        confidence: Coverage of the interval.
        sync_on_compute: Merge the rows of all processes, where there is a process group.

    >>> import torch
    >>> metric = CalibrationError()
    >>> metric.update(torch.full((8,), 0.25), torch.ones(8), torch.arange(8))
    >>> metric.compute().value
    0.75
    """

    def __init__(self, *, num_bins: int = 10, confidence: float = 0.95, sync_on_compute: bool = True) -> None:
        super().__init__(2, confidence=confidence, sync_on_compute=sync_on_compute)
        self.num_bins = num_bins

    def update(self, probability_B: Tensor, outcome_B: Tensor, prompt_index_B: Tensor) -> None:
        """Add predicted probabilities and outcomes; rows with NaN are left out."""
        self.keep(prompt_index_B, probability_B, outcome_B)

    def compute(self) -> Estimate:
        """The error in [-1, 1]; undefined where no bin has rows of two prompts."""
        (probability_N, outcome_N), prompts_N = self.columns()
        return calibration_error(probability_N, outcome_N, prompts_N, self.confidence, num_bins=self.num_bins)


class ReliabilityBins(CalibrationError):
    """Counts and means of the bins of a reliability diagram; arguments as of :class:`CalibrationError`."""

    def compute(self) -> Reliability:  # type: ignore[override]
        """Counts and means per bin; NaN means in an empty bin."""
        (probability_N, outcome_N), _ = self.columns()
        return reliability(calibration_sums(probability_N, outcome_N, self.num_bins))
