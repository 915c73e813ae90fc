"""Taste for length against planted labelers, numpy's line, and a loop over definitions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from rlaif.functional.length_bias import ONE_VOTE, rate_at_equal_preference

Votes = list[tuple[float, ...]]


def draw(rng: np.random.Generator, num_pairs: int, num_raters: int) -> tuple[np.ndarray, Votes]:
    """People's chance to prefer the longer text (on average 0.62) and their votes."""
    preference = rng.beta(2.0, 1.2, num_pairs)
    votes = (rng.random((num_pairs, num_raters)) < preference[:, None]).astype(float)
    return preference, [tuple(row) for row in votes.tolist()]


def like_a_person(rng: np.random.Generator, preference: np.ndarray, share_longer: float) -> np.ndarray:
    """Takes the longer in a share of the pairs and votes like one more person in the others."""
    always = rng.random(preference.size) < share_longer
    return np.where(always, 1.0, rng.random(preference.size) < preference).astype(float)


@pytest.mark.parametrize("share_longer", [0.0, 0.2, 0.6])
@pytest.mark.parametrize("num_raters", [2, 3, 5])
def test_a_planted_taste_lies_in_the_interval_as_often_as_it_says(share_longer: float, num_raters: int) -> None:
    rng = np.random.default_rng(7)
    held, values = 0, []
    for _ in range(100):
        preference, votes = draw(rng, 500, num_raters)
        estimate = rate_at_equal_preference(like_a_person(rng, preference, share_longer), votes)
        assert estimate.value is not None and estimate.low is not None and estimate.high is not None
        held += estimate.low <= 0.5 + share_longer / 2 <= estimate.high
        values.append(estimate.value)
    assert held >= 89
    assert np.mean(values) == pytest.approx(0.5 + share_longer / 2, abs=0.01)


def test_one_vote_per_pair_reads_high_where_longer_is_better_and_says_so() -> None:
    rng = np.random.default_rng(0)
    preference, votes = draw(rng, 20_000, 1)
    estimate = rate_at_equal_preference(like_a_person(rng, preference, 0.0), votes)
    assert estimate.low is not None and estimate.low > 0.52
    assert estimate.note == ONE_VOTE


def test_one_vote_per_pair_is_the_line_of_numpy() -> None:
    y, x = [1.0, 0.0, 0.5, 1.0, 0.0] * 4, [1.0, 0.25, 0.5, 0.0, 0.5] * 4
    slope, intercept = np.polyfit(x, y, 1)
    value = rate_at_equal_preference(y, [(vote,) for vote in x]).value
    assert value == pytest.approx(slope * 0.5 + intercept)


def test_two_votes_are_instruments_for_one_another() -> None:
    """With two people the slope is the mean of the two instrumental-variable covariances over theirs."""
    rng = np.random.default_rng(5)
    preference, votes = draw(rng, 200, 2)
    y = like_a_person(rng, preference, 0.3)
    one, two = np.array(votes).T
    between = np.mean(one * two) - np.mean((one + two) / 2) ** 2
    slope = np.mean([np.cov(one, y, ddof=0)[0, 1], np.cov(two, y, ddof=0)[0, 1]]) / between
    expected = y.mean() + slope * (0.5 - np.mean(votes))
    assert rate_at_equal_preference(y, votes).value == pytest.approx(expected)


def test_pairs_of_one_prompt_widen_the_interval() -> None:
    rng = np.random.default_rng(2)
    preference, votes = draw(rng, 100, 3)
    y = like_a_person(rng, preference, 0.3)
    four_times = np.repeat(np.arange(100), 4)
    apart = rate_at_equal_preference(y, votes)
    together = rate_at_equal_preference(np.repeat(y, 4), [row for row in votes for _ in range(4)], four_times)
    assert together == pytest.approx(apart)


def test_people_who_never_differ_leave_it_undetermined() -> None:
    clusters = ["p", "p", "q"]
    estimate = rate_at_equal_preference([1.0, 0.0, 1.0], [(1.0, 1.0)] * 3, clusters)
    assert (estimate.value, estimate.n) == (None, 2)
    assert rate_at_equal_preference([], []).value is None


def test_preferences_that_hardly_vary_leave_it_undetermined_mostly() -> None:
    """All pairs are wanted by 60 to 64 %: what seems to vary is noise, and the ratio would be read off it."""
    rng = np.random.default_rng(1)
    undetermined = 0
    for _ in range(200):
        preference = rng.uniform(0.60, 0.64, 300)
        votes = [tuple(row) for row in (rng.random((300, 3)) < preference[:, None]).astype(float).tolist()]
        undetermined += rate_at_equal_preference(like_a_person(rng, preference, 0.0), votes).value is None
    assert undetermined >= 190


def test_the_interval_is_fiellers() -> None:
    """Its ends are the rates at which the mean of (above - rate · below), linearized, is t standard errors from 0."""
    rng = np.random.default_rng(8)
    preference, votes = draw(rng, 200, 1)
    y, x = like_a_person(rng, preference, 0.2), np.array(votes)[:, 0]
    estimate = rate_at_equal_preference(y, votes)

    def statistic(rate: float) -> float:
        def scaled(weights: np.ndarray) -> float:
            mean_x, mean_y = weights @ x, weights @ y
            spread = weights @ (x * x) - mean_x**2
            return mean_y * spread + (weights @ (x * y) - mean_x * mean_y) * (0.5 - mean_x) - rate * spread

        even = np.full(200, 1 / 200)
        changes = []
        for row in range(200):
            moved = even.copy()
            moved[row] += 1e-6
            changes.append((scaled(moved / moved.sum()) - scaled(even)) / 1e-6)
        return scaled(even) / (np.array(changes) @ np.array(changes) / 200**2 * 200 / 199) ** 0.5

    assert estimate.low is not None and estimate.high is not None
    assert statistic(estimate.low) == pytest.approx(stats.t.ppf(0.975, 199), rel=1e-3)
    assert statistic(estimate.high) == pytest.approx(-stats.t.ppf(0.975, 199), rel=1e-3)


def test_sizes_must_agree() -> None:
    with pytest.raises(ValueError, match="2 verdicts for 1 rows"):
        rate_at_equal_preference([1.0, 0.0], [(1.0,)])
