"""Length control against statsmodels, planted length effects, and cases without a solution."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from scipy.special import expit, logit

from rlaif.functional.length_control import (
    length_controlled_rate,
    length_controlled_win_rate,
    logistic_rate_at_one,
)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("soft", [False, True])
def test_is_the_clustered_logistic_regression_of_statsmodels(soft: bool, rng: np.random.Generator) -> None:
    groups = np.repeat(np.arange(80), 3)
    ratio = rng.gamma(8, 1 / 6, groups.size)
    p = expit(0.4 + 1.2 * (ratio - 1) + rng.normal(size=80)[groups])
    y = p if soft else (rng.random(groups.size) < p).astype(float)
    fit = sm.GLM(y, sm.add_constant(ratio - 1), family=sm.families.Binomial()).fit(
        cov_type="cluster", cov_kwds={"groups": groups}
    )
    estimate = logistic_rate_at_one(ratio, y, groups)
    assert estimate.value == pytest.approx(expit(fit.params[0]), abs=1e-6)
    half = stats.t.ppf(0.975, 79) * fit.bse[0]
    expected = expit([fit.params[0] - half, fit.params[0] + half])
    assert (estimate.low, estimate.high) == pytest.approx(tuple(expected), abs=1e-5)
    assert estimate.n == 80


@pytest.mark.parametrize(("quality", "length_effect"), [(0.0, 2.0), (0.5, 1.5), (-0.4, 0.0), (0.3, -2.0)])
def test_planted_length_effect_is_removed(quality: float, length_effect: float, rng: np.random.Generator) -> None:
    chars_b = rng.integers(80, 160, 6000)
    chars_a = (chars_b * rng.gamma(20, 1.4 / 20, 6000)).round()
    y = (rng.random(6000) < expit(quality + length_effect * (chars_a / chars_b - 1))).astype(float)
    estimate = length_controlled_win_rate(y, chars_a, chars_b)
    assert estimate.low is not None and estimate.high is not None
    assert estimate.low <= expit(quality) <= estimate.high
    assert estimate.high - estimate.low < 0.06
    if length_effect:
        assert not estimate.low <= y.mean() <= estimate.high


def test_coverage_of_the_interval(rng: np.random.Generator) -> None:
    hits = 0
    for _ in range(200):
        ratio = rng.gamma(10, 0.12, 150)
        estimate = logistic_rate_at_one(ratio, (rng.random(150) < expit(0.5 + ratio - 1)).astype(float))
        assert estimate.low is not None and estimate.high is not None
        hits += estimate.low <= expit(0.5) <= estimate.high
    assert hits / 200 > 0.95 - 3 * (0.95 * 0.05 / 200) ** 0.5


def test_two_ratios_have_a_closed_form() -> None:
    # A saturated model fits each ratio's own rate; log-odds are linear in between.
    y = [1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0]
    estimate = length_controlled_win_rate(y, [50] * 4 + [200] * 5, [100] * 9)
    expected = expit(logit(0.25) + (1 - 0.5) / (2 - 0.5) * (logit(0.8) - logit(0.25)))
    assert estimate.value == pytest.approx(expected, abs=1e-6)


def test_a_tie_is_a_win_and_a_loss_of_half_weight(rng: np.random.Generator) -> None:
    ratio = rng.gamma(8, 1 / 8, 50)
    y = rng.choice([0.0, 0.5, 1.0], 50)
    doubled_ratio = np.repeat(ratio, 2)
    doubled_y = np.where(np.arange(100) % 2 == 0, np.ceil(np.repeat(y, 2)), np.floor(np.repeat(y, 2)))
    reference = sm.Logit(doubled_y, sm.add_constant(doubled_ratio - 1)).fit(disp=0)
    assert logistic_rate_at_one(ratio, y).value == pytest.approx(expit(reference.params[0]), abs=1e-6)


def test_against_itself_is_one_half(rng: np.random.Generator) -> None:
    """Each pair in both roles: the log-odds at ratio 1 need not be exactly 0, since 1/ratio is no mirror."""
    chars = rng.integers(50, 150, (2000, 2))
    y = (rng.random(2000) < 0.5).astype(float)
    estimate = length_controlled_win_rate(y, chars[:, 0], chars[:, 1])
    assert estimate.low is not None and estimate.high is not None
    assert estimate.low < 0.5 < estimate.high


@pytest.mark.parametrize(
    ("y", "ratio", "reason"),
    [
        ([], [], "no rows"),
        ([1.0, 1.0, 1.0], [0.5, 1.0, 2.0], "every win"),
        ([0.0, 0.0, 0.0], [0.5, 1.0, 2.0], "every win"),
        ([0.0, 0.0, 1.0, 1.0], [0.5, 0.7, 1.1, 1.2], "separates"),
        ([1.0, 1.0, 0.0, 0.0], [0.5, 0.7, 1.1, 1.2], "separates"),
        ([0.0, 1.0, 0.0, 1.0], [0.5, 0.7, 0.7, 1.2], "separates"),
        ([0.0, 0.5, 1.0], [0.5, 0.7, 1.2], "separates"),
        ([0.0, 1.0, 1.0], [1.3, 1.3, 1.3], "the same"),
    ],
)
def test_no_solution_is_undefined_with_its_reason(y: list[float], ratio: list[float], reason: str) -> None:
    estimate = logistic_rate_at_one(ratio, y)
    assert estimate[:3] == (None, None, None)
    assert reason in estimate.note


@pytest.mark.parametrize(
    ("y", "ratio"), [([0.0, 0.5, 1.0], [0.6, 1.0, 0.6]), ([0.5, 0.0, 1.0], [1.0, 0.8333333333333334, 0.8333333333333334])]
)
def test_a_rate_that_rests_on_one_tie_has_no_interval(y: list[float], ratio: list[float]) -> None:
    """One row at ratio 1 and two lengths: the fit goes through that row, so its value has no spread to estimate."""
    estimate = logistic_rate_at_one(ratio, y)
    assert estimate.value == pytest.approx(0.5) and (estimate.low, estimate.high) == (None, None)
    assert "no interval" in estimate.note


def test_all_soft_labels_are_never_separated() -> None:
    y = np.array([0.1, 0.3, 0.6, 0.9])
    ratio = np.array([0.5, 0.8, 1.2, 1.5])
    reference = sm.GLM(y, sm.add_constant(ratio - 1), family=sm.families.Binomial()).fit()
    assert logistic_rate_at_one(ratio, y).value == pytest.approx(expit(reference.params[0]), abs=1e-6)


def test_an_empty_reference_is_left_out_and_counted() -> None:
    y, a, b = [0.0, 1.0, 0.0, 1.0, 1.0], [50, 80, 120, 100, 9], [100, 100, 100, 100, 0]
    with_empty = length_controlled_win_rate(y, a, b, clusters=list("pqrst"))
    without = length_controlled_win_rate(y[:4], a[:4], b[:4], clusters=list("pqrs"))
    assert with_empty[:4] == without[:4]
    assert with_empty.note == "1 rows with empty B left out"


def test_harmless_rate_at_the_reference_length(rng: np.random.Generator) -> None:
    chars = rng.integers(40, 200, 5000)
    harmless = (rng.random(5000) < expit(1.0 - 2.0 * (chars / 100 - 1))).astype(float)
    estimate = length_controlled_rate(harmless, chars, mean_reference_chars=100.0)
    assert estimate.low is not None and estimate.high is not None
    assert estimate.low <= expit(1.0) <= estimate.high
    assert length_controlled_rate(harmless, chars, mean_reference_chars=0.0).value is None


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="preference: 1 of 2 are NaN"):
        length_controlled_win_rate([float("nan"), 1.0], [1, 2], [1, 2])


@pytest.mark.parametrize(
    ("ratio", "reason"),
    [
        ([0.1 + 0.2, 0.3, 0.1 + 0.2, 0.3], "every length ratio is the same"),
        ([1.0 + 1e-13, 1.0, 1.0 + 1e-13, 1.0], "every length ratio is the same"),
        ([0.1 + 0.2, 0.5, 0.3, 0.2], "separates wins from losses"),
    ],
)
def test_ratios_that_differ_by_rounding_are_the_same(ratio: list[float], reason: str) -> None:
    """Without a tolerance the slope on such a spread is some 1e12, and the rate at ratio 1 arbitrary."""
    estimate = logistic_rate_at_one(ratio, [0.0, 1.0, 1.0, 0.0])
    assert estimate.value is None and reason in estimate.note
