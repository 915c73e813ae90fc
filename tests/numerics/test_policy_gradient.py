"""Policy gradients against exact gradients of a policy small enough to enumerate.

The toy: token 0 ends the response; the first token is drawn from theta1, a second one (after 1 or 2) from
theta2[first]. Responses: (0), (1, a), (2, a) with a in {0, 1, 2}. J and its gradient are computed in this file by
summing over all seven.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from scipy.stats import zscore
from sklearn.preprocessing import normalize, scale
from torch import Tensor

from rlaif.functional.losses import LossSum
from rlaif.functional.policy_gradient import (
    differentiable_kl_loss,
    group_mean_advantages,
    informative_groups,
    kl_shaped_rewards,
    leave_one_out_advantages,
    normalize_advantages,
    policy_gradient_loss,
    rewards_to_go,
    value_loss,
)
from rlaif.functional.seeds import generator

RESPONSES = [(0,), *itertools.product((1, 2), (0, 1, 2))]
TOKENS_BT = torch.tensor([[r[0], r[1] if len(r) == 2 else 0] for r in RESPONSES])
MASK_BT = torch.tensor([[True, len(r) == 2] for r in RESPONSES])
REWARDS_B = torch.randn(7, generator=generator("reward"), dtype=torch.float64)
BETA = 0.3


def draw(name: str) -> list[Tensor]:
    shapes = [(3,), (3, 3)]
    return [
        torch.randn(*shape, generator=generator(name, i), dtype=torch.float64).requires_grad_()
        for i, shape in enumerate(shapes)
    ]


def logits_of(theta: list[Tensor]) -> Tensor:
    """Logits [7, 2, 3] at the two states of every response."""
    return torch.stack([theta[0].expand(7, 3), theta[1][TOKENS_BT[:, 0]]], dim=1)


def logprobs_of(theta: list[Tensor]) -> Tensor:
    return logits_of(theta).log_softmax(-1).gather(-1, TOKENS_BT[..., None])[..., 0]


def response_logprob(theta: list[Tensor]) -> Tensor:
    return torch.stack([sum(logprobs_of(theta)[i, : len(r)]) for i, r in enumerate(RESPONSES)])  # type: ignore[arg-type]


def gradient_of_objective(theta: list[Tensor], reference: list[Tensor], beta: float) -> tuple[Tensor, ...]:
    log_pi, log_ref = response_logprob(theta), response_logprob(reference).detach()
    objective = (log_pi.exp() * ((1 - beta) * REWARDS_B - beta * (log_pi - log_ref))).sum()
    return torch.autograd.grad(objective, theta)


def expected_loss_gradient(losses: list[LossSum], theta: list[Tensor]) -> tuple[Tensor, ...]:
    """Gradient of the sampled surrogate, in expectation over the response that is sampled."""
    probability_B = response_logprob(theta).exp().detach()
    return torch.autograd.grad(sum(p * loss.mean for p, loss in zip(probability_B, losses, strict=True)), theta)


def assert_opposite(gradients: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    for gradient, reference in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, -reference, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("beta", [0.0, BETA])
def test_expected_gradient_is_that_of_the_objective_under_any_baseline(beta: float) -> None:
    theta, reference = draw("policy"), draw("reference")
    rewards_BT = kl_shaped_rewards(REWARDS_B, logprobs_of(theta), logprobs_of(reference), MASK_BT, beta)
    value_by_state = torch.tensor([5.0, 0.0, -3.0, 2.0])
    values_BT = torch.stack([value_by_state[0].expand(7), value_by_state[1 + TOKENS_BT[:, 0]]], 1)
    advantages_BT = rewards_to_go(rewards_BT) - values_BT
    losses = [
        policy_gradient_loss(logprobs_of(theta)[i : i + 1], advantages_BT[i : i + 1], MASK_BT[i : i + 1])
        for i in range(7)
    ]
    assert_opposite(expected_loss_gradient(losses, theta), gradient_of_objective(theta, reference, beta))


def test_value_loss_is_stationary_at_the_expected_return_of_each_state() -> None:
    theta, reference = draw("policy"), draw("reference")
    rewards_BT = kl_shaped_rewards(REWARDS_B, logprobs_of(theta), logprobs_of(reference), MASK_BT, BETA)
    log_pi, log_ref = response_logprob(theta).detach(), response_logprob(reference).detach()
    gain_B = (1 - BETA) * REWARDS_B - BETA * (log_pi - log_ref)
    start = (log_pi.exp() * gain_B).sum()
    log_second, log_second_ref = logprobs_of(theta)[:, 1].detach(), logprobs_of(reference)[:, 1].detach()
    after = [
        (log_second.exp() * ((1 - BETA) * REWARDS_B - BETA * (log_second - log_second_ref)))[rows].sum()
        for rows in (slice(1, 4), slice(4, 7))
    ]
    by_state = torch.stack([start, *after]).requires_grad_()
    values_BT = torch.stack([by_state[0].expand(7), by_state[TOKENS_BT[:, 0].clamp(min=1)]], 1)
    returns_BT = rewards_to_go(rewards_BT)
    losses = [value_loss(values_BT[i : i + 1], returns_BT[i : i + 1], MASK_BT[i : i + 1]) for i in range(7)]
    expected_loss = sum(p * loss.mean for p, loss in zip(log_pi.exp(), losses, strict=True))
    (gradient,) = torch.autograd.grad(expected_loss, [by_state])
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-6, rtol=0)


def test_differentiable_kl_has_the_gradient_of_the_kl_at_the_visited_states() -> None:
    theta, reference = draw("policy"), draw("reference")
    losses = [
        differentiable_kl_loss(logits_of(theta)[i : i + 1], logits_of(reference)[i : i + 1], MASK_BT[i : i + 1])
        for i in range(7)
    ]
    gradients = expected_loss_gradient(losses, theta)

    def categorical(logits: Tensor) -> torch.distributions.Categorical:
        return torch.distributions.Categorical(logits=logits)

    visits = categorical(theta[0]).probs.detach()
    at_start = torch.distributions.kl_divergence(categorical(theta[0]), categorical(reference[0]))
    after_first = torch.distributions.kl_divergence(categorical(theta[1]), categorical(reference[1]))
    surrogate = at_start + visits[1] * after_first[1] + visits[2] * after_first[2]
    for gradient, expected in zip(gradients, torch.autograd.grad(surrogate, theta), strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-6)


def test_differentiable_kl_is_not_the_gradient_of_the_sequence_kl() -> None:
    """Why variant (b) is tested against its own surrogate: it misses the effect on later states."""
    theta, reference = draw("policy"), draw("reference")
    losses = [
        differentiable_kl_loss(logits_of(theta)[i : i + 1], logits_of(reference)[i : i + 1], MASK_BT[i : i + 1])
        for i in range(7)
    ]
    log_pi, log_ref = response_logprob(theta), response_logprob(reference).detach()
    exact = torch.autograd.grad((log_pi.exp() * (log_pi - log_ref)).sum(), theta)
    ours = expected_loss_gradient(losses, theta)
    assert (ours[0] - exact[0]).abs().max() > 1e-2
    torch.testing.assert_close(ours[1], exact[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("baseline", "factor"), [("leave_one_out", 1.0), ("group_mean", 0.5)])
def test_pairs_of_samples(baseline: str, factor: float) -> None:
    """Leave-one-out is unbiased; the group's own mean shrinks the gradient by (K - 1)/K."""
    theta = draw("policy")
    advantages_of = leave_one_out_advantages if baseline == "leave_one_out" else group_mean_advantages
    probability_B = response_logprob(theta).exp().detach()
    total = torch.zeros((), dtype=torch.float64)
    for i, j in itertools.product(range(7), repeat=2):
        grouped = advantages_of(REWARDS_B[[i, j]][None], torch.ones(1, 2, dtype=torch.bool))
        advantages_BT = grouped.advantages_GK.view(2, 1).expand(2, 2)
        loss = policy_gradient_loss(logprobs_of(theta)[[i, j]], advantages_BT, MASK_BT[[i, j]])
        total = total + probability_B[i] * probability_B[j] * loss.mean
    expected = gradient_of_objective(theta, draw("reference"), beta=0.0)
    assert_opposite(torch.autograd.grad(total, theta), tuple(factor * gradient for gradient in expected))


def test_paper_returns_without_kl_are_the_terminal_reward_at_every_token() -> None:
    zeros = torch.zeros(2, 3)
    mask_BT = torch.tensor([[True, True, True], [True, False, False]])
    returns_BT = rewards_to_go(kl_shaped_rewards(torch.tensor([2.0, -1.0]), zeros, zeros, mask_BT, beta=0.0))
    assert returns_BT.tolist() == [[2.0, 2.0, 2.0], [-1.0, 0.0, 0.0]]


def test_shaped_rewards_by_hand_with_a_hole_an_empty_row_and_a_missing_reward() -> None:
    logprobs_BT = torch.tensor([[-1.0, -9.0, -2.0], [-1.0, -1.0, -1.0], [-1.0, -1.0, 0.0]])
    ref_BT = torch.tensor([[-3.0, 5.0, -1.0], [0.0, 0.0, 0.0], [-2.0, -1.0, 0.0]])
    mask_BT = torch.tensor([[True, False, True], [False, False, False], [True, True, False]])
    rewards = kl_shaped_rewards(torch.tensor([10.0, 10.0, torch.nan]), logprobs_BT, ref_BT, mask_BT, beta=0.25)
    assert rewards[:2].tolist() == [[-0.5, 0.0, 7.75], [0.0, 0.0, 0.0]]
    assert rewards[2].isnan().tolist() == [False, True, False]


def test_policy_loss_by_hand() -> None:
    logprobs_BT = torch.tensor([[-1.0, -2.0, -4.0], [-1.0, -1.0, -1.0]], requires_grad=True)
    advantages_BT = torch.tensor([[1.0, -1.0, 50.0], [2.0, 2.0, 2.0]])
    mask_BT = torch.tensor([[True, True, False], [True, True, True]])
    loss = policy_gradient_loss(logprobs_BT, advantages_BT, mask_BT)
    assert loss.mean.item() == pytest.approx(((1 - 2) + 6) / 2)
    loss.mean.backward()
    assert logprobs_BT.grad is not None
    assert logprobs_BT.grad.tolist() == [[-0.5, 0.5, 0.0], [-1.0, -1.0, -1.0]]


def test_advantages_are_constants() -> None:
    theta = torch.tensor([[-1.0]], requires_grad=True)
    policy_gradient_loss(theta, 3 * theta, torch.ones(1, 1, dtype=torch.bool)).mean.backward()
    assert theta.grad is not None and theta.grad.item() == 3.0


def test_a_missing_reward_changes_nothing_for_the_others() -> None:
    def run(rows: list[int], rewards: list[float]) -> tuple[float, Tensor]:
        logprobs_BT = torch.tensor([[-1.0, -2.0], [-3.0, -0.5], [-0.7, -0.2]])[rows].requires_grad_()
        reward_B = torch.tensor(rewards)
        mask_BT = torch.ones(len(rows), 2, dtype=torch.bool)
        rewards_BT = kl_shaped_rewards(reward_B, logprobs_BT, logprobs_BT.detach() * 1.1, mask_BT, 0.1)
        row_mask_B = ~reward_B.isnan()
        advantages_BT = rewards_to_go(rewards_BT)
        loss = policy_gradient_loss(logprobs_BT, advantages_BT, mask_BT, row_mask_B).mean
        loss = loss + value_loss(logprobs_BT, advantages_BT, mask_BT, row_mask_B).mean
        (gradient,) = torch.autograd.grad(loss, [logprobs_BT])
        return loss.item(), gradient

    loss_with, gradient_with = run([0, 1, 2], [1.0, torch.nan, -2.0])
    loss_without, gradient_without = run([0, 2], [1.0, -2.0])
    assert loss_with == pytest.approx(loss_without)
    torch.testing.assert_close(gradient_with[[0, 2]], gradient_without)
    assert gradient_with[1].tolist() == [0.0, 0.0]


def test_nothing_left_gives_zero() -> None:
    logprobs_BT = torch.tensor([[-1.0]], requires_grad=True)
    mask_BT, row_mask_B = torch.tensor([[True]]), torch.tensor([False])
    loss = policy_gradient_loss(logprobs_BT, torch.tensor([[torch.nan]]), mask_BT, row_mask_B).mean
    loss.backward()
    assert loss.item() == 0.0 and logprobs_BT.grad is not None and logprobs_BT.grad.item() == 0.0


@pytest.mark.parametrize("garbage", [float("nan"), 1e9, 0.0])
def test_leave_one_out_against_a_loop(garbage: float) -> None:
    present = [[True, True, True], [True, False, True], [False, True, False], [False, False, False]]
    values = [[1.0, 4.0, -2.0], [3.0, 0.0, 5.0], [0.0, 7.0, 0.0], [0.0, 0.0, 0.0]]
    rewards_GK = torch.tensor(values).masked_fill(~torch.tensor(present), garbage)
    grouped = leave_one_out_advantages(rewards_GK, torch.tensor(present))
    for g, k in itertools.product(range(4), range(3)):
        others = [values[g][o] for o in range(3) if o != k and present[g][o]]
        counts = present[g][k] and bool(others)
        assert grouped.counts_GK[g, k].item() == counts
        expected = values[g][k] - sum(others) / len(others) if counts else 0.0
        assert grouped.advantages_GK[g, k].item() == pytest.approx(expected)


def test_group_mean_scaled_is_the_z_score() -> None:
    rewards = [1.0, 4.0, -2.0, 7.0]
    mask_GK = torch.tensor([[True, True, True, True, False]])
    grouped = group_mean_advantages(torch.tensor([[*rewards, torch.nan]]), mask_GK, scale=True)
    assert grouped.advantages_GK[0, :4].tolist() == pytest.approx(zscore(rewards).tolist(), rel=1e-5)
    assert grouped.advantages_GK[0, 4] == 0.0


@pytest.mark.parametrize("reward", [0.3, 1e-6, -3e6])
def test_equal_rewards_of_a_prompt_teach_nothing(reward: float) -> None:
    mask_GK = torch.ones(1, 7, dtype=torch.bool)
    grouped = group_mean_advantages(torch.full((1, 7), reward), mask_GK, scale=True)
    assert grouped.advantages_GK.tolist() == [[0.0] * 7]


def test_normalized_advantages_are_sklearns_scale() -> None:
    advantages_BT = torch.tensor([[1.0, 2.0, 30.0], [5.0, -4.0, 30.0]])
    mask_BT = torch.tensor([[True, True, False], [True, True, False]])
    normalized = normalize_advantages(advantages_BT, mask_BT)
    assert normalized[mask_BT].tolist() == pytest.approx(scale([1.0, 2.0, 5.0, -4.0]).tolist(), rel=1e-5)
    assert normalized[~mask_BT].tolist() == [0.0, 0.0]
    unscaled = normalize_advantages(advantages_BT, mask_BT, "unscaled")
    assert unscaled.tolist() == [[1.0, 2.0, 0.0], [5.0, -4.0, 0.0]]
    by_root_mean_square = normalize_advantages(advantages_BT, mask_BT, "root_mean_square")
    unit = normalize([[1.0, 2.0, 5.0, -4.0]])[0] * 2.0  # sklearn divides by the norm: √4 times the root mean square
    assert by_root_mean_square[mask_BT].tolist() == pytest.approx(unit.tolist(), rel=1e-5)


@pytest.mark.parametrize("returns", [3.3, -1e-5, 2e4])
def test_returns_that_differ_by_rounding_only_teach_nothing(returns: float) -> None:
    noise_BT = returns * 1e-7 * torch.tensor([[1.0, -1.0, 2.0], [0.0, 1.0, -3.0]])
    mask_BT = torch.ones(2, 3, dtype=torch.bool)
    around_zero = normalize_advantages(noise_BT, mask_BT, "root_mean_square", magnitude=torch.tensor(abs(returns)))
    assert around_zero.abs().max() == 0.0
    assert normalize_advantages(returns + noise_BT, mask_BT).abs().max() == 0.0


def test_normalizing_nothing() -> None:
    assert normalize_advantages(torch.ones(1, 2), torch.zeros(1, 2, dtype=torch.bool)).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("scale", [False, True])
def test_a_missing_member_leaves_the_others_of_its_group_alone(scale: bool) -> None:
    """[1, 3, 2, missing] gives the first three what [1, 3, 2] gives; all equal and all missing give nothing."""
    rewards_GK = torch.tensor([[1.0, 3.0, 2.0, torch.nan], [5.0, 5.0, 5.0, 5.0], [torch.nan] * 4])
    grouped = group_mean_advantages(rewards_GK, rewards_GK.isfinite(), scale=scale, correction=1)
    alone = group_mean_advantages(
        torch.tensor([[1.0, 3.0, 2.0]]), torch.ones(1, 3, dtype=torch.bool), scale=scale, correction=1
    )
    assert alone.advantages_GK.tolist() == [[-1.0, 1.0, 0.0]]  # the sample's deviation of 1, 3, 2 is 1
    assert grouped.advantages_GK.tolist() == [[-1.0, 1.0, 0.0, 0.0], [0.0] * 4, [0.0] * 4]
    assert grouped.counts_GK.tolist() == [[True, True, True, False], [True] * 4, [False] * 4]


def test_the_samples_deviation_is_torchs() -> None:
    rewards_GK = torch.randn(3, 5, generator=generator("groups"))
    grouped = group_mean_advantages(rewards_GK, torch.ones(3, 5, dtype=torch.bool), scale=True, correction=1)
    centred_GK = rewards_GK - rewards_GK.mean(-1, keepdim=True)
    torch.testing.assert_close(grouped.advantages_GK, centred_GK / rewards_GK.std(-1, keepdim=True))


def test_groups_that_dynamic_sampling_keeps() -> None:
    nan = torch.nan
    rewards_GK = torch.tensor(
        [[0.0, 1.0, 1.0], [3.3, 3.3, 3.3 + 2.4e-7], [1.0, nan, 1.0], [1.0, nan, 2.0], [nan, nan, 4.0]]
    )
    assert informative_groups(rewards_GK, rewards_GK.isfinite()).tolist() == [True, False, False, True, False]


@pytest.mark.parametrize(("reward_weight", "share"), [(None, 0.75), (1.0, 1.0)])
def test_the_reward_has_its_own_weight_beside_the_kl(reward_weight: float | None, share: float) -> None:
    logprobs_BT, mask_BT = torch.tensor([[-1.0, -2.0]]), torch.tensor([[True, True]])
    rewards_BT = kl_shaped_rewards(
        torch.tensor([8.0]), logprobs_BT, 2 * logprobs_BT, mask_BT, 0.25, reward_weight=reward_weight
    )
    assert rewards_BT.tolist() == [[-0.25, 8 * share - 0.5]]
