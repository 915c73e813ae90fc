"""Rewards in standard units of the policy's starting point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from rlaif.errors import ConfigError
from rlaif.functional.policy_gradient import ROUNDING
from rlaif.rewards.base import Reward, RewardBatch, RewardResources
from rlaif.roles import Reads
from rlaif.types import Completion, Prompt

STANDARDIZED = "reward.standardized=true"
"""The option of a reward that gives standard units only where it is asked to."""
UNSTANDARDIZED = "set reward.standardized=false"

STANDARD_SAMPLES = "standard_samples"
"""Role, and kind, of the samples that give zero and unit."""
READS_SAMPLES = {STANDARD_SAMPLES: Reads(kind=STANDARD_SAMPLES, of="reference", by=STANDARD_SAMPLES)}
"""What a standardized reward reads: those that are drawn to be labeled, or those of a step that the pipeline adds."""


class Standardized:
    """Another reward minus the mean, over the deviation, of its rewards of the SFT policy's samples.

    β weighs the reward against nats, so a reward whose zero and unit are arbitrary is put into standard units first
    (not in the paper, whose reward is the raw score).

    Args:
        reward: A prepared reward.
        mean: What becomes 0.
        std: What becomes 1, above 0.
    """

    def __init__(self, reward: Reward, *, mean: float, std: float) -> None:
        self.reward = reward
        self.mean = mean
        self.std = std

    @classmethod
    def on_samples(
        cls, reward: Reward, prompts: Sequence[Prompt], responses: Sequence[Completion], *, option: str, remedy: str
    ) -> Standardized:
        """Take zero and unit from samples; arguments and errors as of :func:`zero_and_unit`."""
        return cls(reward, **zero_and_unit(reward, prompts, responses, option=option, remedy=remedy))

    def reads(self) -> Mapping[str, Reads]:
        """The roles of the reward inside."""
        return self.reward.reads()

    def prepare(self, resources: RewardResources) -> Standardized:
        """Nothing to load: the reward inside is prepared."""
        return self

    def to(self, device: torch.device | str) -> Standardized:
        """Move the reward inside to a device."""
        self.reward.to(device)
        return self

    def __call__(
        self, prompts: Sequence[Prompt], responses: Sequence[Completion], *, samples_per_prompt: int = 1
    ) -> RewardBatch:
        rewards = self.reward(prompts, responses, samples_per_prompt=samples_per_prompt)
        return rewards._replace(values_B=(rewards.values_B - self.mean) / self.std)


def zero_and_unit(
    reward: Reward, prompts: Sequence[Prompt], responses: Sequence[Completion], *, option: str, remedy: str
) -> dict[str, float]:
    """Mean and standard deviation of the rewards of samples; those without a reward do not count.

    Args:
        reward: A prepared reward.
        prompts: Prompt of each sample.
        responses: Samples of the SFT policy.
        option: What asks for standard units, as typed, and of several rewards which one.
        remedy: What the user can do when all samples score the same, as an imperative.

    Returns:
        ``mean`` and ``std``.

    Raises:
        ConfigError: All samples score the same, so there is no unit.
    """
    rewards = reward(prompts, responses)
    known_B = rewards.values_B[rewards.scored_mask_B].double()
    if not len(known_B):
        raise ConfigError(
            f"{option}: none of the {len(responses)} SFT samples has a score, which leaves no unit; {remedy}"
        )
    mean, std = known_B.mean().item(), known_B.std(correction=0).item()
    if not std > ROUNDING * known_B.abs().max():
        raise ConfigError(f"{option}: all {len(known_B)} SFT samples score {mean:.4g}, which leaves no unit; {remedy}")
    return {"mean": mean, "std": std}
