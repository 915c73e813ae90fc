"""Calibration against torchmetrics and sklearn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.calibration import calibration_curve
from torchmetrics.functional.classification import binary_calibration_error

from rlaif.functional.calibration import (
    BinSums,
    calibration_error_estimate,
    calibration_sums,
    expected_calibration_error,
    reliability,
)
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


def test_the_ends_are_bootstrap_quantiles_of_scipy() -> None:
    def error(rows: np.ndarray) -> float:
        return float(expected_calibration_error(calibration_sums(PROBABILITY[rows], OUTCOME[rows])))

    def gaps(rows: np.ndarray) -> torch.Tensor:
        sums = calibration_sums(PROBABILITY[rows], OUTCOME[rows])
        return (sums.outcome_K - sums.probability_K) / sums.count_K.sum()

    everything = np.arange(500)

    def noise(rows: np.ndarray) -> float:
        return float((gaps(rows) - gaps(everything)).abs().sum())

    def upper_quantile(statistic: Callable[[np.ndarray], float]) -> float:
        drawn = stats.bootstrap(
            (everything,), statistic, n_resamples=1000, vectorized=False, method="percentile",
            rng=np.random.default_rng(1),
        )  # fmt: skip
        return float(drawn.confidence_interval.high)

    estimate = calibration_error_estimate(PROBABILITY, OUTCOME)
    assert estimate.value == pytest.approx(error(everything))
    assert estimate.low == pytest.approx(error(everything) - upper_quantile(noise), abs=0.005)
    assert estimate.high == pytest.approx(upper_quantile(error), abs=0.005)


@pytest.mark.parametrize("planted", [0.0, 0.02, 0.1, 0.25])
def test_the_interval_holds_a_planted_error(planted: float) -> None:
    """200 labelers that say p and are right with p - planted: the 95 % intervals hold the truth in 94 % or more."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        probability = torch.from_numpy(rng.uniform(0.5, 1.0, 400))
        outcome = (torch.from_numpy(rng.random(400)) < probability - planted).double()
        estimate = calibration_error_estimate(probability, outcome, num_resamples=300)
        assert estimate.value is not None and estimate.low is not None and estimate.high is not None
        assert estimate.low <= estimate.value <= estimate.high
        held += estimate.low <= planted <= estimate.high
    assert held >= 188


def test_rows_of_one_prompt_widen_the_interval() -> None:
    rows = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]
    probability, outcome = torch.full((16,), 0.75), torch.tensor([1.0] * 4 + [0.0] * 4 + [1.0] * 8)
    together = calibration_error_estimate(probability, outcome, rows)
    apart = calibration_error_estimate(probability, outcome)
    assert together.value == apart.value == 0.0
    assert together.high is not None and apart.high is not None and 0 < apart.high < together.high
    assert (together.n, apart.n) == (4, 16)


def test_without_rows_or_clusters_there_is_no_interval() -> None:
    assert calibration_error_estimate(torch.tensor([]), torch.tensor([])).value is None
    one = calibration_error_estimate(torch.tensor([0.75, 0.25]), torch.tensor([1.0, 1.0]), ["a", "a"])
    assert (one.value, one.low, one.n) == (0.5, None, 1)
