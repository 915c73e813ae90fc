"""Calibration against torchmetrics, sklearn, closed forms and planted labelers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.calibration import calibration_curve
from torchmetrics.functional.classification import binary_calibration_error

from rlaif.functional.calibration import BinSums, calibration_error, calibration_sums, reliability
from rlaif.functional.seeds import generator
from rlaif.functional.statistics import Estimate

PROBABILITY = torch.rand(500, generator=generator("p"), dtype=torch.float64)
OUTCOME = (torch.rand(500, generator=generator("y")) < PROBABILITY**2).double()


@pytest.mark.parametrize("num_bins", [1, 7, 10])
def test_what_is_subtracted_goes_to_0_beside_the_error_of_torchmetrics(num_bins: int) -> None:
    probability, outcome = PROBABILITY.repeat(200), OUTCOME.repeat(200)
    reference = binary_calibration_error(probability, outcome.long(), n_bins=num_bins, norm="l2")
    assert calibration_error(probability, outcome, num_bins=num_bins).value == pytest.approx(reference.item(), abs=1e-3)


def test_the_debiased_error_of_one_forecast_per_bin_by_hand() -> None:
    """Ferro & Fricker 2012, equation 8: (mean outcome - p)² - mean (1 - mean) / (n - 1), weighted by n."""
    probability = torch.tensor([0.25] * 10 + [0.75] * 30)
    outcome = torch.tensor([1.0] * 6 + [0.0] * 4 + [1.0] * 12 + [0.0] * 18)
    squared = 0.25 * ((0.6 - 0.25) ** 2 - 0.24 / 9) + 0.75 * ((0.4 - 0.75) ** 2 - 0.24 / 29)
    assert calibration_error(probability, outcome).value == pytest.approx(squared**0.5)


def test_one_bin_has_the_interval_of_the_noncentral_f_limit() -> None:
    """In one bin the statistic is the squared z of the gap, whose noncentrality scipy finds by its own search."""
    probability, outcome = torch.full((400,), 0.55), (torch.arange(400) % 4 != 0).double()
    estimate = calibration_error(probability, outcome)
    error = (0.75 * 0.25 / 399) ** 0.5
    z2 = (0.2 / error) ** 2
    for end, level in ((estimate.low, 0.975), (estimate.high, 0.025)):
        assert end is not None
        assert stats.ncx2.cdf(z2, 1, (end / error) ** 2) == pytest.approx(level, abs=1e-3)


def test_bars_are_those_of_sklearn() -> None:
    bars = reliability(calibration_sums(PROBABILITY, OUTCOME, 10))
    mean_outcome, mean_probability = calibration_curve(OUTCOME.numpy(), PROBABILITY.numpy(), n_bins=10)
    assert bars.mean_outcome_K.tolist() == pytest.approx(mean_outcome.tolist())
    assert bars.mean_probability_K.tolist() == pytest.approx(mean_probability.tolist())


def test_parts_add_up_and_missing_rows_are_left_out() -> None:
    with_missing = torch.cat([PROBABILITY, torch.tensor([torch.nan, 0.3])])
    outcome = torch.cat([OUTCOME, torch.tensor([1.0, torch.nan])])
    parts = [calibration_sums(with_missing[i::3], outcome[i::3]) for i in range(3)]
    total = BinSums(*(sum(column) for column in zip(*parts, strict=True)))  # type: ignore[arg-type]
    mean_outcome, mean_probability = calibration_curve(OUTCOME.numpy(), PROBABILITY.numpy(), n_bins=10)
    assert reliability(total).mean_outcome_K.tolist() == pytest.approx(mean_outcome.tolist())
    assert reliability(total).mean_probability_K.tolist() == pytest.approx(mean_probability.tolist())
    assert total.count_K.sum() == 500


def test_edges_and_emptiness() -> None:
    sums = calibration_sums(torch.tensor([0.0, 0.5, 1.0]), torch.tensor([0.0, 1.0, 1.0]), num_bins=2)
    assert sums.count_K.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(("num_pairs", "num_votes"), [(64, 1), (64, 3), (500, 3), (2000, 1)])
def test_a_calibrated_labeler_reads_0_in_the_mean(num_pairs: int, num_votes: int) -> None:
    """The squared error is right in the mean; its signed root within a point and a half at 64 pairs, where the plain
    error of bins reads 12 points."""
    rng = np.random.default_rng(4)
    values = np.array([calibrated(rng, num_pairs, num_votes).value for _ in range(300)])
    squared = values * np.abs(values)
    assert abs(squared.mean()) < 3.5 * squared.std() / 300**0.5
    assert abs(values.mean()) < 0.015


def calibrated(rng: np.random.Generator, num_pairs: int, num_votes: int) -> Estimate:
    probability = torch.from_numpy(rng.beta(2, 2, num_pairs)).repeat(num_votes)
    outcome = (torch.from_numpy(rng.random(probability.numel())) < probability).double()
    return calibration_error(probability, outcome, list(range(num_pairs)) * num_votes)


def test_votes_on_one_prompt_that_agree_are_not_taken_for_bad_calibration() -> None:
    """Eight equal votes per prompt: the noise is that of 100 prompts, not of 800 rows."""
    rng = np.random.default_rng(5)
    squared = []
    for _ in range(200):
        p = torch.from_numpy(rng.beta(2, 2, 100))
        outcome = (torch.from_numpy(rng.random(100)) < p).double()
        value = calibration_error(p.repeat(8), outcome.repeat(8), list(range(100)) * 8).value
        assert value is not None
        squared.append(value * abs(value))
    assert abs(np.mean(squared)) < 3.5 * np.std(squared) / 200**0.5


def test_copies_of_a_row_in_its_cluster_change_nothing() -> None:
    four = calibration_error(PROBABILITY.repeat(4), OUTCOME.repeat(4), list(range(500)) * 4)
    assert four == pytest.approx(calibration_error(PROBABILITY, OUTCOME))


def test_without_two_clusters_in_a_bin_there_is_nothing() -> None:
    assert calibration_error(torch.tensor([]), torch.tensor([])).value is None
    one = calibration_error(torch.tensor([0.75, 0.75]), torch.tensor([1.0, 1.0]), ["a", "a"])
    assert (one.value, one.low, one.n) == (None, None, 1)
    apart = calibration_error(torch.tensor([0.15, 0.75]), torch.tensor([1.0, 1.0]), ["a", "b"])
    assert (apart.value, apart.n, apart.note) == (None, 2, "no bin holds rows of two prompts")


def test_a_bin_of_one_cluster_is_left_out() -> None:
    probability, outcome = torch.tensor([0.35] * 10 + [0.95]), torch.tensor([1.0, 0.0] * 5 + [0.0])
    assert calibration_error(probability, outcome) == calibration_error(probability[:10], outcome[:10])._replace(n=11)


def test_rows_that_are_all_alike_have_no_interval() -> None:
    sure = calibration_error(torch.ones(50), torch.ones(50))
    assert (sure.value, sure.low, sure.high) == (0.0, None, None)
    wrong = calibration_error(torch.ones(50), torch.zeros(50))
    assert (wrong.value, wrong.low) == (1.0, None) and "alike" in wrong.note
