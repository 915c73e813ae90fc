"""The responses of a policy step with their rewards; prompts that teach nothing are replaced by others.

Shapes: B responses, K of each prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rlaif.functional.policy_gradient import informative_groups
from rlaif.modules.step_seconds import StepSeconds
from rlaif.objectives.checks import check_rewards
from rlaif.rewards.base import Cause, Reward, RewardBatch
from rlaif.rewards.missing import one_step
from rlaif.rollouts.batch import rows_of
from rlaif.rollouts.sampler import Sampler
from rlaif.rollouts.step import StepResponses, StepSampler


class Rewarded(NamedTuple):
    """One process's responses of a policy step."""

    drawn: StepResponses
    rewards: RewardBatch
    num_redrawn: int
    """Prompts that were drawn in the place of others."""


def draw_rewarded(
    responses: StepSampler,
    sampler: Sampler,
    reward: Reward,
    step: int,
    *,
    rank: int,
    world_size: int,
    redraws: int = 0,
    seconds: StepSeconds | None = None,
) -> Rewarded:
    """Draw the responses of a policy step and reward them.

    Args:
        responses: Draws them.
        sampler: Of the policy.
        reward: Scores them.
        step: Policy step, from 0.
        rank: This process.
        world_size: Processes that share the step.
        redraws: How often prompts whose rewards are all equal, or missing, are replaced by further ones (dynamic
            sampling, DAPO, arXiv 2503.14476, section 3.2).
        seconds: Counts what sampling and rewards take.

    Raises:
        TrainingError: The reward breaks its contract.
    """
    num_samples = responses.samples_per_prompt
    seconds = seconds or StepSeconds()

    def rewarded(drawn: StepResponses) -> RewardBatch:
        with seconds.of("reward"):
            rewards = reward(drawn.prompts, drawn.completions, samples_per_prompt=num_samples)
        check_rewards(rewards, len(drawn.completions), reward, samples_per_prompt=num_samples)
        return rewards

    with one_step(), seconds.of("sample"):
        drawn = responses.draw(sampler, step, rank=rank, world_size=world_size)
        rewards, num_redrawn = rewarded(drawn), 0
        for attempt in range(1, redraws + 1):
            places = _without_information(rewards, num_samples)
            if not places:
                break
            others = responses.redraw(sampler, step, places, attempt=attempt, rank=rank, world_size=world_size)
            rewards = _replaced(rewards, rows_of(places, num_samples), rewarded(others))
            drawn = drawn.replaced(places, others)
            num_redrawn += len(places)
    return Rewarded(drawn, rewards, num_redrawn)


def _without_information(rewards: RewardBatch, num_samples: int) -> list[int]:
    """Positions of prompts whose rewards do not differ."""
    shape = (-1, num_samples)
    informative_G = informative_groups(rewards.values_B.view(shape), rewards.scored_mask_B.view(shape))
    return [place for place, informs in enumerate(informative_G.tolist()) if not informs]


def _replaced(rewards: RewardBatch, rows: Sequence[int], others: RewardBatch) -> RewardBatch:
    """Rewards with those of some rows exchanged; parts that one side lacks are missing there."""

    def placed(old: Tensor, new: Tensor) -> Tensor:
        whole = old.clone()
        whole[list(rows)] = new
        return whole

    wins, further = rewards.p_beats_BK, others.p_beats_BK
    names = dict.fromkeys([*rewards.parts, *others.parts])
    return RewardBatch(
        placed(rewards.values_B, others.values_B),
        placed(rewards.scored_mask_B, others.scored_mask_B),
        None if wins is None or further is None else placed(wins, further),
        causes=_placed_causes(rewards, rows, others),
        parts={name: placed(_part(rewards, name), _part(others, name)) for name in names},
    )


def _placed_causes(rewards: RewardBatch, rows: Sequence[int], others: RewardBatch) -> tuple[Cause | None, ...]:
    if not rewards.causes and not others.causes:
        return ()
    causes = list(rewards.causes) or [None] * len(rewards.values_B)
    for row, cause in zip(rows, others.causes or [None] * len(rows), strict=True):
        causes[row] = cause
    return tuple(causes)


def _part(rewards: RewardBatch, name: str) -> Tensor:
    missing = torch.full_like(rewards.values_B, float("nan"))
    return rewards.parts.get(name, missing)
