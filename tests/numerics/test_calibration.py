"""Calibration against torchmetrics and sklearn."""

from __future__ import annotations

import pytest
import torch
from sklearn.calibration import calibration_curve
from torchmetrics.functional.classification import binary_calibration_error

from rlaif.functional.calibration import BinSums, calibration_sums, expected_calibration_error, reliability
from rlaif.functional.seeds import generator

PROBABILITY = torch.rand(500, generator=generator("p"), dtype=torch.float64)
OUTCOME = (torch.rand(500, generator=generator("y")) < PROBABILITY**2).double()


@pytest.mark.parametrize("num_bins", [1, 7, 10, 15])
def test_error_is_that_of_torchmetrics(num_bins: int) -> None:
    error = expected_calibration_error(calibration_sums(PROBABILITY, OUTCOME, num_bins))
    reference = binary_calibration_error(PROBABILITY, OUTCOME.long(), n_bins=num_bins, norm="l1")
    assert error.item() == pytest.approx(reference.item(), abs=1e-6)


def test_bars_are_those_of_sklearn() -> None:
    bars = reliability(calibration_sums(PROBABILITY, OUTCOME, 10))
    mean_outcome, mean_probability = calibration_curve(OUTCOME.numpy(), PROBABILITY.numpy(), n_bins=10)
    assert bars.mean_outcome_K.tolist() == pytest.approx(mean_outcome.tolist())
    assert bars.mean_probability_K.tolist() == pytest.approx(mean_probability.tolist())


def test_soft_outcomes_equal_to_the_prediction_are_calibrated() -> None:
    assert expected_calibration_error(calibration_sums(PROBABILITY, PROBABILITY)).item() == pytest.approx(0.0)


def test_parts_add_up_and_missing_rows_are_left_out() -> None:
    with_missing = torch.cat([PROBABILITY, torch.tensor([torch.nan, 0.3])])
    outcome = torch.cat([OUTCOME, torch.tensor([1.0, torch.nan])])
    parts = [calibration_sums(with_missing[i::3], outcome[i::3]) for i in range(3)]
    total = BinSums(*(sum(column) for column in zip(*parts, strict=True)))  # type: ignore[arg-type]
    reference = binary_calibration_error(PROBABILITY, OUTCOME.long(), n_bins=10, norm="l1")
    assert expected_calibration_error(total).item() == pytest.approx(reference.item(), abs=1e-6)
    assert total.count_K.sum() == 500


def test_edges_and_emptiness() -> None:
    sums = calibration_sums(torch.tensor([0.0, 0.5, 1.0]), torch.tensor([0.0, 1.0, 1.0]), num_bins=2)
    assert sums.count_K.tolist() == [1.0, 2.0]
    assert expected_calibration_error(calibration_sums(torch.tensor([]), torch.tensor([]))).isnan()
