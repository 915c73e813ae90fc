"""Agreement, rankings and position bias against sklearn, scipy, closed forms and planted bias."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import accuracy_score

from rlaif.functional.agreement import (
    agreement_scores,
    alignment,
    kendalls_w,
    mean_kendalls_w,
    position_bias,
    sign_flip_p_value,
)


def test_alignment_without_ties_is_accuracy() -> None:
    rng = np.random.default_rng(0)
    ai, human = rng.random(200), rng.integers(0, 2, 200)
    estimate = alignment(torch.from_numpy(ai), torch.from_numpy(human.astype(float)))
    assert estimate.value == pytest.approx(accuracy_score(human, ai > 0.5))


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.2, 0.5, 1.0]), st.sampled_from([0.0, 0.5, 1.0])), min_size=1))
def test_ties_count_what_a_fair_coin_would_give(pairs: list[tuple[float, float]]) -> None:
    def outcomes(p: float) -> list[int]:
        return [0, 1] if p == 0.5 else [int(p > 0.5)]

    expected = [np.mean([x == y for x, y in itertools.product(outcomes(a), outcomes(b))]) for a, b in pairs]
    a_B, b_B = (torch.tensor(column, dtype=torch.float64) for column in zip(*pairs, strict=True))
    assert agreement_scores(a_B, b_B).tolist() == pytest.approx(expected)
    assert agreement_scores(b_B, a_B).tolist() == pytest.approx(expected)


def test_missing_stays_missing_and_is_refused_in_a_mean() -> None:
    labels = torch.tensor([0.9, torch.nan])
    assert agreement_scores(labels, torch.ones(2)).isnan().tolist() == [False, True]
    with pytest.raises(ValueError, match="NaN"):
        alignment(labels, torch.ones(2))


def simulate(bias: float, num_pairs: int) -> tuple[torch.Tensor, torch.Tensor, float]:
    """P(first) of both orders under log-odds quality ± bias for slot 1, and the expected share of same slots."""
    quality = torch.randn(num_pairs, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2
    given_order, swapped_order = torch.sigmoid(quality + bias), torch.sigmoid(quality - bias)
    # The slot wins in both orders exactly where |quality| < |bias|; quality is normal with deviation 2.
    return given_order, swapped_order, math.erf(abs(bias) / 2 / math.sqrt(2))


@pytest.mark.parametrize("bias", [-1.5, -0.3, 0.3, 1.5])
def test_planted_position_bias_is_recovered(bias: float) -> None:
    given_order, swapped_order, expected = simulate(bias, 4000)
    measured = position_bias(given_order, swapped_order)
    assert measured.same_slot.value == pytest.approx(expected, abs=0.025)
    assert measured.first_slot_share.value == (1.0 if bias > 0 else 0.0)
    assert measured.p_value is not None and measured.p_value < 1e-10


def test_no_bias_has_no_same_slot() -> None:
    given_order, swapped_order, _ = simulate(0.0, 100)
    measured = position_bias(given_order, swapped_order)
    assert measured.same_slot.value == 0.0
    assert measured.same_slot.high is not None and measured.same_slot.high > 0.03
    assert measured.first_slot_share.value is None and measured.p_value is None


def test_the_p_value_without_clusters_is_that_of_the_binomial_test() -> None:
    for firsts, rows in ((7, 8), (4, 8), (0, 3), (90, 300), (3000, 4000)):
        answers = torch.arange(rows) < firsts
        assert sign_flip_p_value(answers) == pytest.approx(stats.binomtest(firsts, rows).pvalue, rel=1e-9)


def test_the_p_value_is_the_share_of_sign_flips_that_differ_as_much() -> None:
    """Prompts with differences 3, -1, 2, 1, 0: all 32 flips by hand."""
    answers = torch.tensor([1, 1, 1, 0, 1, 1, 0, 1, 1, 0, 1], dtype=torch.bool)
    clusters = list("aaabccddddd")
    sums = [3, -1, 2, 1]
    flips = [
        abs(sum(s * d for s, d in zip(signs, sums, strict=True))) for signs in itertools.product((1, -1), repeat=4)
    ]
    expected = np.mean([flip >= 5 for flip in flips])
    assert sign_flip_p_value(answers, clusters) == pytest.approx(expected)


def test_six_equal_answers_per_prompt_are_not_six_prompts() -> None:
    """Prompts name slot 1 in all six pairs or in none, by a coin: 5 % are below 0.05, not 30 % and more."""
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(40), 6)
    p_values = [sign_flip_p_value(torch.from_numpy((rng.random(40) < 0.5)[clusters]), clusters) for _ in range(400)]
    assert np.mean(np.array(p_values) < 0.05) < 0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5


def test_position_bias_tests_its_prompts() -> None:
    given_order = torch.tensor([0.9] * 7 + [0.1])
    measured = position_bias(given_order, 1 - given_order, clusters=list("aabbccdd"))
    # Differences 2, 2, 2, 0: all three signs are equal in 2 of 8 flips.
    assert measured.p_value == pytest.approx(0.25)
    assert measured.first_slot_share.value == pytest.approx(7 / 8)
    assert measured.first_slot_share.n == 4


@pytest.mark.parametrize("num_raters", [2, 3, 7])
def test_kendalls_w_is_friedmans_statistic_over_its_maximum(num_raters: int) -> None:
    rng = np.random.default_rng(num_raters)
    for scores in (rng.random((num_raters, 4)), rng.integers(0, 3, (num_raters, 4)) + np.arange(4) * 0.5):
        chi_square = stats.friedmanchisquare(*scores.T).statistic
        assert kendalls_w(scores) == pytest.approx(chi_square / (num_raters * 3))


def test_kendalls_w_of_three_raters_over_three_items_by_hand() -> None:
    assert kendalls_w([[1, 2, 3]] * 3) == 1.0
    assert kendalls_w([[1, 2, 3], [2, 3, 1], [3, 1, 2]]) == 0.0
    # Rank sums 4, 5, 9: S = 4 + 1 + 9 = 14, W = 12 * 14 / (9 * 24).
    assert kendalls_w([[1, 2, 3], [1, 2, 3], [2, 1, 3]]) == pytest.approx(12 * 14 / 216)


def test_kendalls_w_is_undefined_when_all_is_tied() -> None:
    assert kendalls_w([[1, 1, 1], [2, 2, 2]]) is None
    estimate = mean_kendalls_w([[[1, 1], [1, 1]], [[1, 2], [1, 2]], [[1, 2], [2, 1]]], clusters=["a", "b", "c"])
    assert estimate.value == 0.5 and estimate.n == 2
    assert estimate.note.startswith("1 instances where all is tied left out")


@pytest.mark.parametrize("num_raters", [2, 5])
def test_raters_who_rank_at_random_have_the_concordance_that_the_note_says(num_raters: int) -> None:
    rng = np.random.default_rng(num_raters)
    estimate = mean_kendalls_w([rng.permuted(np.tile(np.arange(6), (num_raters, 1)), axis=1) for _ in range(3000)])
    assert estimate.value == pytest.approx(1 / num_raters, abs=0.01)
    assert f"have {1 / num_raters:.3f} in the mean" in estimate.note


def test_kendalls_w_refuses_nan() -> None:
    with pytest.raises(ValueError, match="NaN"):
        kendalls_w([[1.0, float("nan")]])
