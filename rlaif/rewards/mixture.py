"""A weighted sum of rewards."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from rlaif.artifacts.identity import identities
from rlaif.errors import ConfigError
from rlaif.rewards.base import ComparesSamples, Reward, RewardBatch, RewardResources, prepared
from rlaif.rewards.made_of import joint_causes, joint_mask, joint_roles, named_as_part, named_parts
from rlaif.roles import Reads
from rlaif.types import Completion, Prompt


class MixtureReward:
    """Σ weight · reward. Every part is logged without its weight as ``policy/reward/NAME``.

    A response that one part did not score has no reward, whatever the part's weight: the sum of the others is another
    reward.

    Args:
        rewards: The parts by name; each keeps its own options, e.g. ``standardized``.
        weights: A finite number other than 0 for some of the names, also below 0 (a price); the others weigh 1.

    Raises:
        ConfigError: With every option that is wrong.
    """

    members = ("rewards",)

    def __init__(
        self, rewards: Mapping[str, Reward] | None = None, *, weights: Mapping[str, float] | None = None
    ) -> None:
        self.rewards: dict[str, Reward] = dict(rewards or {})
        weights = weights or {}
        if problems := _problems(self.rewards, weights):
            raise ConfigError(problems)
        self.weights = {name: float(weights.get(name, 1.0)) for name in self.rewards}

    @property
    def identity(self) -> str:
        """Content hash of what the parts depend on."""
        return identities(self.rewards)

    @property
    def min_samples_per_prompt(self) -> int:
        """The most that a part needs."""
        needs = (item.min_samples_per_prompt for item in self.rewards.values() if isinstance(item, ComparesSamples))
        return max(needs, default=1)

    def reads(self) -> Mapping[str, Reads]:
        """The roles of all parts."""
        return joint_roles(self.rewards)

    def prepare(self, resources: RewardResources) -> MixtureReward:
        """Prepare every part; returns itself."""
        for name, reward in self.rewards.items():
            with named_as_part(name):
                self.rewards[name] = prepared(reward, resources)
        return self

    def to(self, device: torch.device | str) -> MixtureReward:
        """Move every part; returns itself."""
        for reward in self.rewards.values():
            reward.to(device)
        return self

    def __call__(
        self, prompts: Sequence[Prompt], responses: Sequence[Completion], *, samples_per_prompt: int = 1
    ) -> RewardBatch:
        batches = {}
        for name, reward in self.rewards.items():
            with named_as_part(name):
                batches[name] = reward(prompts, responses, samples_per_prompt=samples_per_prompt)
        scored_B = joint_mask(list(batches.values()))
        terms = [self.weights[name] * batch.values_B for name, batch in batches.items()]
        values_B = torch.stack(terms).sum(0).masked_fill(~scored_B, float("nan"))
        return RewardBatch(values_B, scored_B, causes=joint_causes(batches.values()), parts=named_parts(batches))


_ADD = "type +reward@reward.rewards.NAME=labeler, or another option of the group reward"


def _problems(rewards: Mapping[str, Reward], weights: Mapping[str, float]) -> list[str]:
    problems = [] if rewards else [f"reward.rewards: a mixture needs at least one reward; {_ADD}"]
    problems += [
        f"reward.rewards.{name}={reward}: is no reward; {_ADD.replace('NAME', name)}, or leave it out with"
        f" ~reward.rewards.{name}"
        for name, reward in rewards.items()
        if not callable(reward) or not hasattr(reward, "reads")
    ]
    known = ", ".join(rewards) or "none"
    problems += [f"reward.weights.{name}: no such reward; there are {known}" for name in weights if name not in rewards]
    for name, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight) or weight == 0:
            problems.append(
                f"reward.weights.{name}={weight}: must be a finite number other than 0; ~reward.rewards."
                f"{name} leaves the part out"
            )
    return problems
