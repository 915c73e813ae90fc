"""GRPO's family and PPO against loops over their papers' formulas; missing rewards; what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from made_rollouts import rollouts
from torch import Tensor

from rlaif.errors import ConfigError
from rlaif.functional.seeds import generator
from rlaif.objectives.base import Losses, PolicyOutputs, RolloutObjective
from rlaif.objectives.grpo import Grpo
from rlaif.objectives.ppo import Ppo
from rlaif.objectives.reinforce import Reinforce
from rlaif.objectives.rloo import Rloo
from rlaif.rollouts.batch import Rollouts
from rlaif.rollouts.shaping import RewardShaping

NAN = float("nan")
LENGTHS = [3, 1, 2, 2, 4, 1]


def moved(batch: Rollouts, by: float = 0.3) -> PolicyOutputs:
    """A policy some updates later."""
    assert batch.logprobs_BT is not None
    noise_BT, values_BT = (torch.randn(batch.mask_BT.shape, generator=generator(name)) for name in ("moved", "values"))
    return PolicyOutputs((batch.logprobs_BT + by * noise_BT).requires_grad_(), values_BT.requires_grad_(), None, None)


def total(losses: Losses, batch: Rollouts) -> Tensor:
    """What a module minimizes."""
    return torch.stack([term.total for term in losses.terms.values()]).sum() / batch.loss_shares.sum()


def grpo_by_loop(
    rewards: list[float], lengths: list[int], log_ratios: Tensor, per: str, low: float, high: float
) -> float:
    """Two responses per prompt; the sum over tokens of -min(ρ A, clip(ρ) A), averaged as each paper averages."""
    by_response = []
    for row, length in enumerate(lengths):
        first = row - row % 2
        pair = torch.tensor(rewards[first : first + 2])
        advantage = ((pair[row % 2] - pair.mean()) / pair.std()).item()
        ratios = [math.exp(value) for value in log_ratios[row, :length].tolist()]
        by_response.append([-min(r * advantage, min(max(r, 1 - low), 1 + high) * advantage) for r in ratios])
    if per == "step":
        return sum(map(sum, by_response)) / sum(lengths)
    if per == "sequence":
        return sum(sum(part) / len(part) for part in by_response) / len(by_response)
    if per == "constant":
        return sum(sum(part) / 4 for part in by_response) / len(by_response)
    groups = [[*by_response[i], *by_response[i + 1]] for i in range(0, len(by_response), 2)]
    return sum(sum(group) / len(group) for group in groups) / len(groups)


@pytest.mark.parametrize("per", ["step", "group", "sequence", "constant"])
def test_grpo_is_the_clipped_mean_of_its_paper(per: Any) -> None:
    rewards = [1.0, 3.0, -2.0, 0.5, 7.0, 7.5]
    objective = Grpo(beta=0.0, per=per, clip_low=0.1, clip_high=0.25, max_new_tokens=4)
    batch = objective.credit(rollouts(rewards, LENGTHS, 2))
    outputs = moved(batch)
    log_ratios = (outputs.logprobs_BT - batch.logprobs_BT).detach()  # type: ignore[operator]
    expected = grpo_by_loop(rewards, LENGTHS, log_ratios, per, 0.1, 0.25)
    losses = objective.losses(outputs, batch)
    assert total(losses, batch).item() == pytest.approx(expected, rel=1e-5)
    assert losses.terms["loss"].mean.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("per", ["step", "group", "sequence", "constant"])
@pytest.mark.parametrize("advantages", ["group", "step", "unscaled"])
def test_a_missing_reward_changes_nothing_for_the_others(per: Any, advantages: Any) -> None:
    """[1, 3, 2, missing] teaches what [1, 3, 2] teaches, with the KL in the loss too."""
    objective = Grpo(per=per, advantages=advantages, max_new_tokens=4)
    found = []
    for rewards in ([1.0, 3.0, 2.0, NAN], [1.0, 3.0, 2.0]):
        rows = len(rewards)
        logprobs_BT = -torch.rand(4, 3, generator=generator("old"))[:rows]
        ref_BT = -torch.rand(4, 3, generator=generator("reference"))[:rows]
        batch = objective.credit(
            rollouts(rewards, LENGTHS[:rows], rows, logprobs_BT=logprobs_BT, ref_logprobs_BT=ref_BT)
        )
        now_BT = (logprobs_BT + 0.2 * torch.randn(4, 3, generator=generator("now"))[:rows]).requires_grad_()
        loss = total(objective.losses(PolicyOutputs(now_BT, None, None, None), batch), batch)
        found.append((loss, torch.autograd.grad(loss, now_BT)[0], batch))
    (with_missing, gradient_BT, batch), (without, gradient_without_BT, batch_without) = found
    torch.testing.assert_close(with_missing, without)
    torch.testing.assert_close(gradient_BT[:3], gradient_without_BT)
    assert gradient_BT[3].tolist() == [0.0, 0.0, 0.0]
    assert batch.advantages_BT is not None and batch_without.advantages_BT is not None
    torch.testing.assert_close(batch.advantages_BT[:3], batch_without.advantages_BT)


@pytest.mark.parametrize("objective", [Grpo(), Grpo(advantages="step"), Grpo(dynamic_sampling=True), Ppo(beta=0.0)])
@pytest.mark.parametrize("rewards", [[2.0] * 4, [NAN] * 4, [NAN, 2.0, NAN, NAN]])
def test_equal_and_missing_rewards_teach_nothing(objective: RolloutObjective, rewards: list[float]) -> None:
    """The value, where there is one, is right."""
    batch = objective.credit(rollouts(rewards, LENGTHS[:4], 2, values_BT=torch.full((4, 3), 2.0)))
    assert batch.advantages_BT is not None and batch.advantages_BT.abs().max() == 0.0
    outputs = moved(batch)
    losses = objective.losses(outputs, batch)
    assert all(term.mean.isfinite() for term in losses.terms.values())
    (gradient_BT,) = torch.autograd.grad(losses.terms["loss"].total, outputs.logprobs_BT)
    assert gradient_BT.abs().max() == 0.0


def test_dynamic_sampling_leaves_equal_rewards_out_of_the_denominator() -> None:
    rewards = [1.0, 3.0, 2.0, 2.0, NAN, 5.0]
    kept, plain = (Grpo(per="step", dynamic_sampling=on).credit(rollouts(rewards, LENGTHS, 2)) for on in (True, False))
    assert kept.counted_mask_B is not None and plain.counted_mask_B is not None
    assert kept.counted_mask_B.tolist() == [True, True, False, False, False, False]
    assert plain.counted_mask_B.tolist() == [True, True, True, True, False, False]
    assert kept.loss_shares.tolist() == [3.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    left_out = Grpo(dynamic_sampling=True).losses(moved(kept), kept).measures["left_out"]
    assert (left_out.total.item(), left_out.count.item()) == (3.0, 5.0)  # two equal ones and one alone, of five rewards


def test_long_responses_are_penalized_before_they_are_compared() -> None:
    objective = Grpo(beta=0.0, advantages="unscaled", overlong_buffer=2, max_new_tokens=4)
    batch = objective.credit(rollouts([1.0, 1.0], [3, 4], 2))
    assert batch.returns_BT is not None and batch.advantages_BT is not None
    assert batch.returns_BT[:, 0].tolist() == [0.5, 0.0]
    assert batch.advantages_BT[:, 0].tolist() == [0.25, -0.25]


def test_gspo_has_one_ratio_per_response() -> None:
    """-min(s A, clip(s) A) averaged over responses, s the geometric mean of the tokens' ratios."""
    rewards = [1.0, 3.0, -2.0, 0.5]
    objective = Grpo(beta=0.0, advantages="unscaled", ratio="sequence", clip_low=0.05, clip_high=0.1)
    batch = objective.credit(rollouts(rewards, LENGTHS[:4], 2))
    outputs = moved(batch)
    loss = total(objective.losses(outputs, batch), batch)
    old_BT = batch.logprobs_BT
    assert old_BT is not None
    by_hand = []
    for row, length in enumerate(LENGTHS[:4]):
        s = (outputs.logprobs_BT[row, :length] - old_BT[row, :length]).mean().exp()
        advantage = rewards[row] - sum(rewards[row - row % 2 : row - row % 2 + 2]) / 2
        by_hand.append(-torch.minimum(s * advantage, s.clamp(0.95, 1.1) * advantage))
    expected = torch.stack(by_hand).mean()
    torch.testing.assert_close(loss, expected)
    ours, theirs = (torch.autograd.grad(part, outputs.logprobs_BT)[0] for part in (loss, expected))
    torch.testing.assert_close(ours, theirs)
    assert 0 < objective.losses(outputs, batch).measures["clip_fraction"].total < 8


def test_importance_weights_multiply_the_loss_and_not_the_ratio() -> None:
    batch = rollouts([1.0, 3.0, -2.0, 0.5], LENGTHS[:4], 2)
    assert batch.logprobs_BT is not None
    sampled = replace(batch, sampled_logprobs_BT=batch.logprobs_BT - math.log(1.5))
    far = replace(batch, sampled_logprobs_BT=batch.logprobs_BT - math.log(7.0))
    objective = Grpo(beta=0.0)
    outputs = moved(batch)
    credited = [objective.credit(part) for part in (batch, sampled, far)]
    plain, weighted, capped = (objective.losses(outputs, part) for part in credited)
    assert weighted.terms["loss"].mean.item() == pytest.approx(1.5 * plain.terms["loss"].mean.item(), rel=1e-5)
    assert capped.terms["loss"].mean.item() == pytest.approx(2.0 * plain.terms["loss"].mean.item(), rel=1e-5)
    assert capped.measures["importance_weight"].mean.item() == pytest.approx(2.0)
    assert weighted.measures["clip_fraction"].total == plain.measures["clip_fraction"].total
    off = Grpo(beta=0.0, importance_cap=None)
    assert off.losses(outputs, credited[2]).terms["loss"].mean.item() == pytest.approx(plain.terms["loss"].mean.item())


@pytest.mark.parametrize("objective", [Reinforce(beta=0.0), Rloo(beta=0.0)])
def test_reinforce_and_rloo_weigh_tokens_of_another_sampler(objective: RolloutObjective) -> None:
    batch = rollouts([1.0, 3.0, -2.0, 0.5], LENGTHS[:4], 2)
    assert batch.logprobs_BT is not None
    losses = []
    for shift in (0.0, math.log(1.5), math.log(7.0)):
        credited = objective.credit(replace(batch, sampled_logprobs_BT=batch.logprobs_BT - shift))
        losses.append(objective.losses(moved(batch), credited).terms["loss"].mean.item())
    assert losses == pytest.approx([losses[0], 1.5 * losses[0], 2.0 * losses[0]], rel=1e-5)


def test_ppo_credits_with_a_lambda_of_its_own_for_each() -> None:
    values_BT = torch.tensor([[0.5, 1.0, -1.0], [2.0, 0.0, 0.0]])
    credited = Ppo(beta=0.0, advantages="unscaled", policy_lambda=0.5, value_lambda=1.0).credit(
        rollouts([4.0, NAN], [3, 1], 1, values_BT=values_BT)
    )
    # δ = 1.0 - 0.5, -1.0 - 1.0, 4 + 1; A = δ_t + ½ A_{t+1}. The value is fitted to the reward itself.
    assert credited.advantages_BT is not None and credited.returns_BT is not None
    assert credited.advantages_BT[0].tolist() == pytest.approx([0.5 + 0.5 * 0.5, -2.0 + 2.5, 5.0])
    assert credited.returns_BT[0].tolist() == pytest.approx([4.0, 4.0, 4.0])
    assert credited.advantages_BT[1].tolist() == [0.0, 0.0, 0.0]
    assert credited.counted_mask_B is not None and credited.counted_mask_B.tolist() == [True, False]
    fitted = Ppo(beta=0.0, advantages="unscaled", policy_lambda=1.0, value_lambda=0.0).credit(
        rollouts([4.0, NAN], [3, 1], 1, values_BT=values_BT)
    )
    assert fitted.returns_BT is not None and fitted.returns_BT[0].tolist() == pytest.approx([1.0, -1.0, 4.0])


def test_a_missing_reward_changes_nothing_for_the_others_of_ppo() -> None:
    found = []
    for rewards, rows in (([1.0, NAN, -2.0], [0, 1, 2]), ([1.0, -2.0], [0, 2])):
        values_BT, old_BT, ref_BT = (torch.randn(3, 3, generator=generator(name))[rows] for name in ("v", "old", "ref"))
        tensors = {"values_BT": values_BT, "logprobs_BT": old_BT, "ref_logprobs_BT": ref_BT}
        batch = Ppo().credit(rollouts(rewards, [LENGTHS[row] for row in rows], 1, **tensors))
        outputs = PolicyOutputs((old_BT + 0.1).requires_grad_(), (values_BT + 0.3).requires_grad_(), None, None)
        loss = total(Ppo().losses(outputs, batch), batch)
        found.append((loss, *torch.autograd.grad(loss, [outputs.logprobs_BT, outputs.values_BT])))
    torch.testing.assert_close(found[0][0], found[1][0])
    for with_missing, without in zip(found[0][1:], found[1][1:], strict=True):
        torch.testing.assert_close(with_missing[[0, 2]], without)
        assert with_missing[1].abs().max() == 0.0


@pytest.mark.parametrize(
    ("make", "options", "told"),
    [
        (Grpo, {"ratio": "sequence", "per": "step"}, ["ratio=sequence", "type policy.objective.per=sequence"]),
        (Grpo, {"ratio": "sequence", "per": "group"}, ["per=group averages tokens"]),
        (Grpo, {"per": "constant"}, ["per=constant", "policy.objective.max_new_tokens=${policy.max_new_tokens}"]),
        (
            Grpo,
            {"overlong_buffer": 9, "max_new_tokens": 8},
            ["overlong_buffer=9: must be at most policy.max_new_tokens=8"],
        ),
        (Grpo, {"kl": "k1"}, ["kl=k1", "expected gradient 0", "type policy.objective.kl=reward"]),
        (Ppo, {"kl": "k1"}, ["kl=k1", "or kl=k2 for a loss"]),
        (Grpo, {"beta": -0.1}, ["beta=-0.1: must be at least 0"]),
        (Grpo, {"beta": NAN}, ["beta=nan: must be at least 0"]),
        (Ppo, {"beta": 1.0}, ["beta=1.0", "policy.objective.reward_weight=one"]),
        (Reinforce, {"importance_cap": 0.5}, ["importance_cap=0.5: must be at least 1"]),
        (
            Grpo,
            {"clip_low": 1.0, "clip_high": 0.0, "epochs": 0, "per": "constant", "ratio": "sequence", "entropy": -1.0},
            ["clip_low=1.0", "clip_high=0.0", "epochs=0", "entropy=-1.0", "ratio=sequence", "per=constant: needs"],
        ),
        (
            Ppo,
            {"policy_lambda": 1.2, "value_lambda": -0.1, "value_clip": 0.0, "minibatches": 0, "per": "constant"},
            ["policy_lambda=1.2", "value_lambda=-0.1", "value_clip=0.0", "minibatches=0", "per=constant: needs"],
        ),
    ],
)
def test_wrong_options_are_told_together_with_what_to_type(make: Any, options: dict[str, Any], told: list[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        make(**options)
    assert all(problem.startswith("policy.objective.") for problem in refused.value.problems)
    for words in told:
        assert words in str(refused.value)


def test_one_sample_per_prompt_is_refused() -> None:
    with pytest.raises(ConfigError, match="samples_per_prompt=1"):
        Grpo().credit(rollouts([1.0, 2.0], [1, 1], 1))


def test_dynamic_sampling_looks_at_rewards_as_they_came() -> None:
    """Equal rewards are equal to it also where lengths are rewarded, and unequal ones differ where they are clipped."""
    objective = Grpo(dynamic_sampling=True)
    for shaping in (RewardShaping(per_token=-0.1), RewardShaping(clip=1.0)):
        batch = objective.credit(shaping.applied(rollouts([2.0, 2.0, 2.0, 4.0, NAN, 5.0], [2, 3, 2, 2, 2, 2], 2)))
        assert batch.counted_mask_B is not None
        assert batch.counted_mask_B.tolist() == [False, False, True, True, False, False]
