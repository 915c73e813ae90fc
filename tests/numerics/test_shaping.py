"""Shaped rewards against closed forms, and the return of a response that is bootstrapped."""

from __future__ import annotations

import math

import pytest
import torch
from made_rollouts import rollouts

from rlaif.errors import ConfigError
from rlaif.modules.policy_settings import PolicySettings
from rlaif.objectives.grpo import Grpo
from rlaif.objectives.ppo import Ppo
from rlaif.objectives.reinforce import Reinforce
from rlaif.rollouts.batch import Rollouts
from rlaif.rollouts.shaping import RewardShaping, mean_shaped_reward

NAN = math.nan


def shaped(shaping: RewardShaping, rewards: list[float], lengths: list[int], finished: list[bool]) -> list[float]:
    batch = rollouts(rewards, lengths, 1)
    batch.finished_B[:] = torch.tensor(finished)
    found = shaping.applied(batch).rewards_B
    assert found is not None
    return found.tolist()


def test_the_default_changes_nothing() -> None:
    batch = rollouts([1.0, NAN], [2, 1], 1)
    assert RewardShaping().applied(batch) is batch


def test_each_option_in_its_order_and_a_missing_reward_stays_missing_and_counts_nowhere() -> None:
    rewards, lengths, finished = [4.0, 1.0, NAN, -1.0], [1, 2, 3, 4], [True, True, False, False]
    cases = [
        (RewardShaping(clip=2.0), [2.0, 1.0, NAN, -1.0]),
        (RewardShaping(per_token=-0.5, free_tokens=1), [4.0, 0.5, NAN, -2.5]),
        (RewardShaping(unfinished_penalty=3.0), [4.0, 1.0, NAN, -4.0]),
        (RewardShaping(scaling="root_mean_square"), [4.0 / 6**0.5, 1.0 / 6**0.5, NAN, -1.0 / 6**0.5]),
    ]
    for shaping, expected in cases:
        assert shaped(shaping, rewards, lengths, finished) == pytest.approx(expected, nan_ok=True, abs=1e-6)
    both = shaped(RewardShaping(clip=2.0, scaling="standardized", unfinished_penalty=1.0), rewards, lengths, finished)
    known = torch.tensor([2.0, 1.0, -1.0])
    scaled = ((known - known.mean()) / known.std(correction=0)).tolist()
    assert both == pytest.approx([scaled[0], scaled[1], NAN, scaled[2] - 1.0], nan_ok=True, abs=1e-6)


def valued() -> Rollouts:
    """A finished response of 3 tokens and an unfinished one of 2; the KL is 0."""
    values_BT = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.6, 0.0]])
    batch = rollouts([5.0, 7.0], [3, 2], 1, values_BT=values_BT)
    batch.finished_B[:] = torch.tensor([True, False])
    return batch


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_a_bootstrapped_response_returns_the_value_of_its_last_state(beta: float) -> None:
    shaping = RewardShaping(unfinished="bootstrapped")
    ppo = Ppo(beta=beta, policy_lambda=1.0, value_lambda=1.0, advantages="unscaled")
    credited = ppo.credit(shaping.applied(valued()))
    assert credited.returns_BT is not None and credited.advantages_BT is not None
    assert credited.returns_BT[0].tolist() == pytest.approx([5.0 * (1 - beta)] * 3)
    assert credited.returns_BT[1, :2].tolist() == pytest.approx([0.6, 0.6]), "7 is the reward of a text that was cut"
    assert credited.advantages_BT[1, :2].tolist() == pytest.approx([0.2, 0.0], abs=1e-6)
    plain = Reinforce(beta=beta, advantages="unscaled").credit(shaping.applied(valued()))
    assert plain.returns_BT is not None
    assert plain.returns_BT[1, :2].tolist() == pytest.approx([0.6, 0.6])


def test_a_bootstrapped_response_pays_its_penalty_too() -> None:
    shaping = RewardShaping(unfinished="bootstrapped", unfinished_penalty=0.5)
    credited = Ppo(beta=0.0, policy_lambda=1.0, advantages="unscaled").credit(shaping.applied(valued()))
    assert credited.returns_BT is not None
    assert credited.returns_BT[1, :2].tolist() == pytest.approx([0.1, 0.1])
    assert float(mean_shaped_reward(credited)) == pytest.approx((5.0 + 0.1) / 2), "what is logged is what is returned"


def test_the_mean_of_shaped_rewards_leaves_missing_ones_out() -> None:
    batch = RewardShaping(per_token=-1.0).applied(rollouts([4.0, NAN, 1.0], [1, 2, 3], 1))
    assert float(mean_shaped_reward(batch)) == pytest.approx((3.0 - 2.0) / 2)


def test_mistakes_are_told_together_and_with_what_to_type() -> None:
    with pytest.raises(ConfigError) as caught:
        RewardShaping(clip=0.0, per_token=math.inf, free_tokens=-1, unfinished_penalty=-1.0)
    assert [problem.split("=")[0].removeprefix("policy.shaping.") for problem in caught.value.problems] == [
        *("clip", "per_token", "free_tokens", "unfinished_penalty"),
    ]
    with pytest.raises(ConfigError, match=r"policy.shaping.unfinished=bootstrapped: .* no learned value"):
        PolicySettings(
            optimizer=torch.optim.AdamW,
            lr=1e-3,
            objective=Grpo(),
            steps=1,
            prompts_per_step=2,
            samples_per_prompt=2,
            shaping=RewardShaping(unfinished="bootstrapped"),
        )
