"""What is done to rewards before a policy learns from them.

Shapes: B responses, T response tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from torch import Tensor

from rlaif.bounds import bounds_problems
from rlaif.errors import ConfigError
from rlaif.functional.baselines import masked_moments
from rlaif.functional.policy_gradient import AdvantageScaling, normalize_advantages
from rlaif.ranges import Finite, NonNegative, Positive, WholeNonNegative
from rlaif.rollouts.batch import Rollouts

Unfinished = Literal["rewarded", "bootstrapped"]
"""Reward of a response that the token limit ended: as it came, or the value of its last state in its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardShaping:
    """Config node ``policy.shaping``. Applied in the order of the fields, over the responses of all processes that have
    a reward; a missing reward stays missing and is in no mean.

    Raises:
        ConfigError: With every option that is out of range.
    """

    clip: Positive | None = None
    """Rewards beyond plus and minus this number are set to it; None clips none."""
    scaling: AdvantageScaling = "unscaled"
    """Of the step's rewards: ``standardized`` (centred, divided by their deviation), ``root_mean_square`` (divided by
    it), or ``unscaled``."""
    per_token: Finite = 0.0
    """Added for each response token beyond ``free_tokens``; below 0 makes long responses worse."""
    free_tokens: WholeNonNegative = 0
    """Tokens of a response that ``per_token`` does not count."""
    unfinished: Unfinished = "rewarded"
    """As in :data:`Unfinished`; ``bootstrapped`` needs an objective with a value."""
    unfinished_penalty: NonNegative = 0.0
    """Taken off the reward of an unfinished response."""

    def __post_init__(self) -> None:
        if problems := [f"policy.shaping.{problem}" for problem in bounds_problems(self)]:
            raise ConfigError(problems)

    @property
    def changes_rewards(self) -> bool:
        """True where any option is set."""
        return bool(self.changed)

    @property
    def changed(self) -> dict[str, tuple[object, object]]:
        """The options that are set: name to value and default."""
        pairs = ((each.name, (getattr(self, each.name), each.default)) for each in fields(self))
        return {name: pair for name, pair in pairs if pair[0] != pair[1]}

    def problems(self, *, has_values: bool) -> Iterator[str]:
        """Options that do not go with the objective: ``shaping.name=value: what is wrong``."""
        if self.unfinished == "bootstrapped" and not has_values:
            yield (
                "shaping.unfinished=bootstrapped: the objective has no learned value; type"
                " policy.shaping.unfinished=rewarded with policy.shaping.unfinished_penalty=1, or policy=ppo"
            )

    def applied(self, batch: Rollouts) -> Rollouts:
        """The rollouts with shaped rewards.

        Args:
            batch: Responses of all processes, with rewards, and values where there are any.
        """
        if not self.changes_rewards:
            return batch
        assert batch.rewards_B is not None and batch.scored_mask_B is not None
        scored_B, unfinished_B = batch.scored_mask_B, ~batch.finished_B
        rewards_B = self._scaled(torch.where(scored_B, batch.rewards_B.float(), 0.0), scored_B)
        excess_B = (batch.mask_BT.sum(-1) - self.free_tokens).clamp(min=0)
        rewards_B = rewards_B + self.per_token * excess_B - self.unfinished_penalty * unfinished_B
        last_values_B = None
        if self.unfinished == "bootstrapped":
            last_values_B = last_values(batch).masked_fill(batch.finished_B, torch.nan)
            rewards_B = torch.where(unfinished_B, -self.unfinished_penalty, rewards_B)
        return replace(
            batch,
            rewards_B=rewards_B.masked_fill(~scored_B, torch.nan),
            unshaped_rewards_B=batch.rewards_B,
            last_values_B=last_values_B,
        )

    def _scaled(self, rewards_B: Tensor, scored_B: Tensor) -> Tensor:
        clipped_B = rewards_B if self.clip is None else rewards_B.clamp(-self.clip, self.clip)
        return normalize_advantages(clipped_B, scored_B, self.scaling)


def mean_shaped_reward(batch: Rollouts) -> Tensor:
    """Mean of the rewards as the objective gets them, values in their place included; missing ones are left out."""
    rewards_B = batch.rewards_B
    assert rewards_B is not None and batch.scored_mask_B is not None
    if batch.last_values_B is not None:
        rewards_B = rewards_B + batch.last_values_B.nan_to_num()
    return masked_moments(rewards_B, batch.scored_mask_B)[0]


def last_values(batch: Rollouts) -> Tensor:
    """V [B] of the state before the last token of each response, the last state that was read."""
    assert batch.values_BT is not None
    return batch.values_BT.gather(1, (batch.mask_BT.sum(-1, keepdim=True) - 1).clamp(min=0)).squeeze(1)
