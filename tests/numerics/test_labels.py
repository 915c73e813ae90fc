"""Soft labels against scipy, hand arithmetic, and planted position bias."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, softmax

from rlaif.functional.labels import (
    debias,
    invert,
    is_missing,
    option_distribution,
    p_first_by_order,
    preference_sign,
    same_slot,
)
from rlaif.types import Completion, Prompt, Rating

PROBABILITY = st.floats(0.0, 1.0, allow_subnormal=False)
NAN = float("nan")


def double(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@given(st.lists(st.floats(-50, 5), min_size=2, max_size=10))
def test_option_distribution_is_scipys_softmax(logprobs: list[float]) -> None:
    np.testing.assert_allclose(option_distribution(double(*logprobs)), softmax(logprobs), rtol=1e-12)


def test_option_distribution_needs_only_differences() -> None:
    shifted = option_distribution(double(-101.0, -103.0))
    torch.testing.assert_close(shifted, option_distribution(double(2.0, 0.0)))


def test_absent_option_has_probability_zero_and_two_absent_are_missing() -> None:
    minus_inf = -torch.inf
    probs = option_distribution(double(minus_inf, -3.0, minus_inf, minus_inf, NAN, -1.0).view(3, 2))
    assert probs[0].tolist() == [0.0, 1.0]
    assert is_missing(probs[1:]).all()


def test_debias_averages_per_candidate_as_the_paper_writes_it() -> None:
    # p̄(A) = ½ [p_AB(1) + p_BA(2)]: slots are re-indexed before the mean.
    p_ab = {1: 0.8, 2: 0.2}
    p_ba = {1: 0.6, 2: 0.4}
    given_B, swapped_B = p_first_by_order(double(p_ab[1]), double(p_ba[1]))
    assert debias(given_B, swapped_B).item() == pytest.approx(0.5 * (p_ab[1] + p_ba[2]))
    assert 1 - debias(given_B, swapped_B).item() == pytest.approx(0.5 * (p_ab[2] + p_ba[1]))


@given(st.lists(st.tuples(st.floats(-4, 4), st.floats(-6, 6)), min_size=1, max_size=20))
def test_logit_debias_recovers_quality_under_a_planted_slot_bias(cases: list[tuple[float, float]]) -> None:
    quality, bias = (np.array(column) for column in zip(*cases, strict=True))
    slot1_given = torch.from_numpy(expit(quality + bias))
    slot1_swapped = torch.from_numpy(expit(-quality + bias))
    recovered = debias(*p_first_by_order(slot1_given, slot1_swapped), "logit")
    np.testing.assert_allclose(recovered, expit(quality), atol=1e-9)


@pytest.mark.parametrize("bias", [0.0, 1.0, 2.0, 4.0])
def test_probability_debias_shrinks_towards_one_half_by_a_known_factor(bias: float) -> None:
    """½[σ(q + b) + σ(q - b)] - ½ = (σ(q) - ½)(cosh q + 1)/(cosh q + cosh b), from tanh's addition theorem."""
    quality = double(0.0, 0.5, 1.0, -3.0)
    slot1_given, slot1_swapped = torch.sigmoid(quality + bias), torch.sigmoid(-quality + bias)
    label = debias(*p_first_by_order(slot1_given, slot1_swapped))
    factor = (torch.cosh(quality) + 1) / (torch.cosh(quality) + math.cosh(bias))
    assert torch.allclose(label - 0.5, (torch.sigmoid(quality) - 0.5) * factor, atol=1e-12)


def test_the_documented_share_of_a_close_label_that_a_bias_leaves() -> None:
    quality = double(1e-4)
    shares = []
    for bias in (1.0, 2.0, 4.0):
        label = debias(*p_first_by_order(torch.sigmoid(quality + bias), torch.sigmoid(-quality + bias)))
        shares.append(((label - 0.5) / (torch.sigmoid(quality) - 0.5)).item())
    assert shares == pytest.approx([0.79, 0.42, 0.07], abs=0.006)


def test_probability_debias_keeps_the_sign_of_quality_under_a_planted_slot_bias() -> None:
    quality = np.linspace(-3, 3, 13)
    labels = debias(
        *p_first_by_order(torch.from_numpy(expit(quality + 2)), torch.from_numpy(expit(-quality + 2))), "probability"
    )
    assert np.array_equal(np.sign(labels.numpy().round(12) - 0.5), np.sign(quality))


@pytest.mark.parametrize("method", ["probability", "logit"])
@given(p_given=PROBABILITY, p_swapped=PROBABILITY)
def test_swapping_the_candidates_gives_the_complement(method: str, p_given: float, p_swapped: float) -> None:
    label = debias(double(p_given), double(p_swapped), method)
    # Asked about (x, z, y), the labeler's given order is what was the swapped one.
    mirrored = debias(double(1 - p_swapped), double(1 - p_given), method)
    assert (label + mirrored).item() == pytest.approx(1.0, abs=1e-9)
    assert min(p_given, p_swapped) - 1e-9 <= label.item() <= max(p_given, p_swapped) + 1e-9


@pytest.mark.parametrize(("method", "expected"), [("probability", 0.5), ("logit", 0.5), ("none", 1.0)])
def test_orders_that_contradict_each_other_with_certainty(method: str, expected: float) -> None:
    assert debias(double(1.0), double(0.0), method).item() == pytest.approx(expected)


@pytest.mark.parametrize("method", ["probability", "logit"])
@pytest.mark.parametrize(("p_given", "p_swapped"), [(NAN, 0.4), (0.4, NAN), (NAN, NAN)])
def test_one_missing_order_makes_the_label_missing(method: str, p_given: float, p_swapped: float) -> None:
    assert is_missing(debias(double(p_given), double(p_swapped), method)).all()


def test_unknown_debias_names_what_is_allowed() -> None:
    with pytest.raises(ValueError, match="probability, logit, none"):
        debias(double(0.5), double(0.5), "mean")  # type: ignore[arg-type]


def test_inversion_when_the_worse_is_asked() -> None:
    assert invert(double(0.9, 0.0, NAN)).tolist()[:2] == pytest.approx([0.1, 1.0])


def test_same_slot_by_cases() -> None:
    slot1_given = double(0.9, 0.9, 0.2, 0.1, 0.5, NAN)
    slot1_swapped = double(0.8, 0.3, 0.1, 0.7, 0.7, 0.7)
    indicator = same_slot(*p_first_by_order(slot1_given, slot1_swapped))
    assert indicator[:5].tolist() == [1.0, 0.0, 1.0, 0.0, 0.5]
    assert is_missing(indicator[5])


def test_preference_sign_by_cases() -> None:
    assert preference_sign(double(0.0, 0.4999, 0.5, 1.0)).tolist() == [-1.0, -1.0, 0.0, 1.0]


@given(st.lists(st.floats(-20, 0), min_size=10, max_size=10))
def test_a_rating_is_the_weighted_average_of_1_to_10(logprobs: list[float]) -> None:
    weights = np.exp(logprobs)
    distribution = tuple(option_distribution(double(*logprobs)[None])[0].tolist())
    prompt, completion = Prompt(task="dialogue", text="x"), Completion(text="y")
    rating = Rating(prompt=prompt, completion=completion, distribution=distribution)
    average = np.average(np.arange(1, 11), weights=weights)
    assert rating.score == pytest.approx(average, rel=1e-9)
    assert rating.reward == pytest.approx(np.interp(average, [1, 10], [-1, 1]), abs=1e-9)
