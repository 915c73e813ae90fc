"""Figures over runs against scipy, statsmodels' random effects and planted seeds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.meta_analysis import combine_effects

from rlaif.functional.across_runs import between_seeds, pool_runs

VALUES = [0.695, 0.622, 0.678, 0.640, 0.655]


def test_seeds_that_differ_more_than_prompts_have_students_interval() -> None:
    pooled = pool_runs(VALUES, [0.02] * 5)
    reference = stats.ttest_1samp(VALUES, 0.0).confidence_interval()
    assert pooled.value == pytest.approx(np.mean(VALUES))
    assert (pooled.low, pooled.high) == pytest.approx((reference.low, reference.high))
    assert pooled.spread == pytest.approx(np.std(VALUES, ddof=1)) and pooled.num_runs == 5


def test_runs_of_equal_precision_have_the_interval_of_hartung_and_knapp() -> None:
    result = combine_effects(np.array(VALUES), np.full(5, 0.02**2), method_re="dl", use_t=True)
    pooled = pool_runs(VALUES, [0.02] * 5)
    half = stats.t.ppf(0.975, 4) * result.sd_eff_w_re_hksj
    assert pooled.value == pytest.approx(result.mean_effect_re)
    assert pooled.low == pytest.approx(result.mean_effect_re - half)


@pytest.mark.parametrize("errors", [[0.02] * 5, [0.01, 0.02, 0.03, 0.02, 0.01], [0.1] * 5])
def test_the_part_between_seeds_is_dersimonians_and_lairds(errors: list[float]) -> None:
    result = combine_effects(np.array(VALUES), np.square(errors), method_re="dl")
    found = between_seeds(VALUES, errors)
    assert found == pytest.approx(max(0.0, result.tau2) ** 0.5)
    assert pool_runs(VALUES, errors).between == found


def test_two_runs_that_happen_to_agree_are_not_certain() -> None:
    pooled = pool_runs([0.7, 0.7], [0.02, 0.02])
    assert pooled.high == pytest.approx(0.7 + 1.959964 * 0.02 / 2**0.5)
    assert pooled.spread == 0.0


def test_noise_of_prompts_that_all_runs_share_does_not_average_out() -> None:
    """Where seeds change nothing the mean is as uncertain as one run, else both add up."""
    pooled = pool_runs([0.7] * 4, [0.02] * 4, shares_prompts=True)
    assert pooled.high == pytest.approx(0.7 + 1.959964 * 0.02)
    both = pool_runs(VALUES, [0.02] * 5, shares_prompts=True)
    assert both.high is not None and both.high - both.value == pytest.approx(
        np.hypot(stats.t.ppf(0.975, 4) * stats.sem(VALUES), 1.959964 * 0.02)
    )


def test_one_run_has_no_interval_and_none_is_refused() -> None:
    assert pool_runs([0.7], [0.02]) == (0.7, None, None, None, None, 1)
    with pytest.raises(ValueError, match="0 values"):
        pool_runs([], [])
    assert pool_runs([0.6, 0.7], [0.02, None]).between is None
    assert pool_runs([0.6, 0.7], [0.0, 0.02]).between is None


def test_equal_values_without_errors_have_no_interval() -> None:
    """Two runs of 32 prompts agree by chance every fifth time: a width of 0 would promise certainty."""
    assert pool_runs([0.0625, 0.0625], [None, None])[:4] == (0.0625, None, None, 0.0)
    assert pool_runs([0.0625, 0.0625], [0.01, None])[:3] == (0.0625, None, None)
    pooled = pool_runs([0.0625, 0.0626], [None, None])
    assert pooled.low is not None and pooled.low < 0.0625
