"""Clipped losses against a piecewise loop, torch's own losses, and exact gradients of an enumerated policy."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rlaif.functional.entropy import token_entropy
from rlaif.functional.length_penalty import soft_overlong_penalty
from rlaif.functional.seeds import generator
from rlaif.functional.surrogates import (
    clipped_surrogate,
    clipped_value_loss,
    sequence_log_ratio,
    token_log_ratio,
    truncated_importance_weights,
)

ROWS = list(itertools.product([0.4, 0.79, 0.81, 1.0, 1.19, 1.21, 1.35, 2.5], [-3.0, 0.0, 2.0]))
"""Ratios and advantages on every side of every bound."""


@pytest.mark.parametrize(("low", "high"), [(0.2, 0.2), (0.2, 0.3)])
def test_the_surrogate_by_cases(low: float, high: float) -> None:
    """PPO's figure 1: linear in the ratio, and flat beyond the bound that the advantage points to."""
    log_ratio_BT = torch.tensor([[math.log(ratio) for ratio, _ in ROWS]]).requires_grad_()
    surrogate = clipped_surrogate(log_ratio_BT, torch.tensor([[a for _, a in ROWS]]), low=low, high=high)
    (gradient_BT,) = torch.autograd.grad(surrogate.loss_BT.sum(), log_ratio_BT)
    for place, (ratio, advantage) in enumerate(ROWS):
        flat = (advantage > 0 and ratio > 1 + high) or (advantage < 0 and ratio < 1 - low)
        bound = 1 + high if advantage > 0 else 1 - low
        expected = -(bound if flat else ratio) * advantage
        assert surrogate.loss_BT[0, place].item() == pytest.approx(expected, rel=1e-5)
        assert gradient_BT[0, place].item() == pytest.approx(0.0 if flat else -ratio * advantage, rel=1e-5)
        assert surrogate.clipped_BT[0, place].item() == flat


def test_a_ratio_beyond_float32_has_a_finite_gradient() -> None:
    log_ratio_BT = torch.tensor([[500.0, -500.0, 500.0]], requires_grad=True)
    surrogate = clipped_surrogate(log_ratio_BT, torch.tensor([[1.0, -1.0, -1e-30]]), low=0.2, high=0.2)
    (gradient_BT,) = torch.autograd.grad(surrogate.loss_BT.sum(), log_ratio_BT)
    assert surrogate.loss_BT.isfinite().all() and gradient_BT.isfinite().all()
    assert gradient_BT[0, :2].tolist() == [0.0, 0.0]


def test_log_ratios_are_zero_where_masked_even_when_nothing_is_there() -> None:
    logprobs_BT = torch.tensor([[-1.0, torch.nan], [torch.nan, -torch.inf]], requires_grad=True)
    mask_BT = torch.tensor([[True, False], [False, False]])
    log_ratio_BT = token_log_ratio(logprobs_BT, torch.full((2, 2), -1.5), mask_BT)
    assert log_ratio_BT.tolist() == [[0.5, 0.0], [0.0, 0.0]]
    assert sequence_log_ratio(log_ratio_BT, mask_BT).tolist() == [[0.5, 0.0], [0.0, 0.0]]
    (gradient_BT,) = torch.autograd.grad(sequence_log_ratio(log_ratio_BT, mask_BT).sum(), logprobs_BT)
    assert gradient_BT.tolist() == [[1.0, 0.0], [0.0, 0.0]]


def test_the_ratio_of_a_sequence_is_the_geometric_mean_of_its_tokens() -> None:
    mask_BT = torch.tensor([[True, True, True, False], [True, False, False, False]])
    log_ratio_BT = torch.randn(2, 4, generator=generator("ratios")).requires_grad_()
    sequence_BT = sequence_log_ratio(log_ratio_BT, mask_BT).exp()
    product = log_ratio_BT.exp()[0, :3].prod() ** (1 / 3)
    assert sequence_BT[0, :3].tolist() == pytest.approx([product.item()] * 3, rel=1e-5)
    assert sequence_BT[1, 0].item() == pytest.approx(log_ratio_BT[1, 0].exp().item())
    # d s / d log π_t = s / |y| at every token (GSPO's equation 10); the mean over tokens repeats s |y| times.
    (gradient_BT,) = torch.autograd.grad(sequence_BT[0, :3].mean(), log_ratio_BT)
    assert gradient_BT[0].tolist() == pytest.approx([product.item() / 3] * 3 + [0.0], rel=1e-5)


@pytest.mark.parametrize("clip", [None, 0.5])
def test_value_loss_by_cases(clip: float | None) -> None:
    values = [-2.0, -0.4, 0.0, 0.4, 2.0]
    for old, returns in itertools.product([0.0, 1.0], [-3.0, 0.2, 3.0]):
        values_BT = torch.tensor([values], requires_grad=True)
        loss_BT = clipped_value_loss(values_BT, torch.full((1, 5), old), torch.full((1, 5), returns), clip)
        (gradient_BT,) = torch.autograd.grad(loss_BT.sum(), values_BT)
        for place, value in enumerate(values):
            near = value if clip is None else min(max(value, old - clip), old + clip)
            expected = 0.5 * max((value - returns) ** 2, (near - returns) ** 2)
            assert loss_BT[0, place].item() == pytest.approx(expected, rel=1e-5)
            is_cut = (near - returns) ** 2 > (value - returns) ** 2 and near != value
            assert gradient_BT[0, place].item() == pytest.approx(0.0 if is_cut else value - returns, abs=1e-5)


def test_without_a_clip_the_value_loss_is_half_of_torchs_squared_error() -> None:
    values_BT, returns_BT = (torch.randn(2, 3, generator=generator(name)) for name in ("values", "returns"))
    loss_BT = clipped_value_loss(values_BT, torch.zeros(2, 3), returns_BT, None)
    torch.testing.assert_close(loss_BT.mean(), 0.5 * F.mse_loss(values_BT, returns_BT))


def test_importance_weights_are_truncated_constants() -> None:
    learner_BT = torch.tensor([[-1.0, -1.0, -1.0, 0.0]], requires_grad=True)
    rollout_BT = torch.tensor([[-1.0, -0.5, -9.0, torch.nan]])
    weights_BT = truncated_importance_weights(learner_BT, rollout_BT, torch.tensor([[True, True, True, False]]), 2.0)
    assert weights_BT.tolist()[0] == pytest.approx([1.0, math.exp(-0.5), 2.0, 0.0])
    assert not weights_BT.requires_grad


def test_weights_without_truncation_correct_a_sampler_that_is_not_the_learner() -> None:
    """Σ_v π_rollout(v) · weight(v) · ∇ log π(v) · A(v) = Σ_v π(v) ∇ log π(v) · A(v), over three tokens."""
    theta = torch.randn(3, generator=generator("learner")).requires_grad_()
    rollout = torch.randn(3, generator=generator("rollout")).log_softmax(-1)
    advantages = torch.tensor([1.0, -2.0, 0.5])
    (exact,) = torch.autograd.grad((theta.softmax(-1) * advantages).sum(), theta)
    logprobs_BT = theta.log_softmax(-1)[:, None]
    weights_BT = truncated_importance_weights(logprobs_BT, rollout[:, None], torch.ones(3, 1, dtype=torch.bool), 1e9)
    log_ratio_BT = token_log_ratio(logprobs_BT, logprobs_BT.detach(), torch.ones(3, 1, dtype=torch.bool))
    surrogate = clipped_surrogate(log_ratio_BT, advantages[:, None], low=0.2, high=0.2)
    (ours,) = torch.autograd.grad(-(rollout.exp()[:, None] * weights_BT * surrogate.loss_BT).sum(), theta)
    torch.testing.assert_close(ours, exact, rtol=1e-5, atol=1e-6)


def expected_surrogate_gradient(theta: Tensor, old: Tensor, advantages: Tensor) -> Tensor:
    log_ratio_BT = token_log_ratio(theta.log_softmax(-1)[:, None], old[:, None], torch.ones(3, 1, dtype=torch.bool))
    loss_BT = clipped_surrogate(log_ratio_BT, advantages[:, None], low=10.0, high=1e9).loss_BT
    return torch.autograd.grad(-(old.exp()[:, None] * loss_BT).sum(), theta)[0]


def test_unclipped_the_surrogate_has_the_gradient_of_the_expected_reward_far_from_the_rollout() -> None:
    theta = torch.randn(3, generator=generator("now")).requires_grad_()
    old, reward = torch.randn(3, generator=generator("old")).log_softmax(-1), torch.tensor([2.0, -1.0, 0.5])
    (exact,) = torch.autograd.grad((theta.softmax(-1) * reward).sum(), theta)
    torch.testing.assert_close(expected_surrogate_gradient(theta, old, reward), exact, rtol=1e-5, atol=1e-6)


def test_the_length_penalty_falls_over_the_buffer() -> None:
    """DAPO's setting: 20,480 tokens at most, of which 4,096 are the buffer."""
    lengths_B = torch.tensor([1, 16_384, 17_408, 18_432, 20_480])
    penalty_B = soft_overlong_penalty(lengths_B, max_length=20_480, buffer=4_096)
    assert penalty_B.tolist() == [0.0, 0.0, -0.25, -0.5, -1.0]
    assert soft_overlong_penalty(torch.tensor([0, 4, 8]), max_length=8, buffer=8).tolist() == [0.0, -0.5, -1.0]


def test_entropy_is_torchs_and_pulls_towards_the_uniform_distribution() -> None:
    logits_BTV = torch.randn(2, 3, 5, generator=generator("logits")).requires_grad_()
    entropy_BT = token_entropy(logits_BTV)
    expected_BT = torch.distributions.Categorical(logits=logits_BTV).entropy()
    torch.testing.assert_close(entropy_BT, expected_BT)
    ours, theirs = (torch.autograd.grad(part.sum(), logits_BTV)[0] for part in (entropy_BT, expected_BT))
    torch.testing.assert_close(ours, theirs)


def test_a_forbidden_token_has_no_share_in_the_entropy() -> None:
    logits_BTV = torch.tensor([[[0.0, 0.0, -torch.inf]]], requires_grad=True)
    entropy_BT = token_entropy(logits_BTV)
    assert entropy_BT.item() == pytest.approx(math.log(2))
    (gradient,) = torch.autograd.grad(entropy_BT.sum(), logits_BTV)
    assert gradient.isfinite().all()
