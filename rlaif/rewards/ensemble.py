"""Several reward models as one reward that is hard to fool: where they disagree, the policy has left their training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from rlaif.bounds import bounds_problems
from rlaif.errors import ConfigError
from rlaif.ranges import AtLeastOne, NonNegative
from rlaif.rewards.base import RewardBatch, RewardResources
from rlaif.rewards.made_of import joint_mask
from rlaif.rewards.reward_model import REWARD_MODEL, RewardModelReward
from rlaif.rewards.standardized import READS_SAMPLES, Standardized
from rlaif.roles import Reads
from rlaif.types import Completion, Prompt

Combine = Literal["mean", "min", "lower_bound"]
"""Mean over the members, their minimum, or mean − λ · population standard deviation."""


class EnsembleReward:
    """Combines reward models that were trained with other seeds, starts or labels.

    A reward model's zero and unit are arbitrary, so each member is standardized on the same SFT samples first. Logged:
    ``policy/reward/disagreement`` (population standard deviation over the members, mean over responses) and
    ``policy/reward/member_N``.

    Sources: Coste et al. (arXiv 2310.02743) for the three combinations, Eisenstein et al. (arXiv 2312.09244).

    Args:
        combine: ``mean``, ``min``, or ``lower_bound``.
        disagreement_weight: λ of ``lower_bound``, at least 0.
        batch_size: Responses per forward pass.
        max_length: Tokens of prompt and response; a longer prompt is cut from the left.

    Raises:
        ConfigError: An option is out of range.
    """

    def __init__(
        self,
        *,
        combine: Combine = "lower_bound",
        disagreement_weight: NonNegative = 1.0,
        batch_size: AtLeastOne = 64,
        max_length: AtLeastOne = 2048,
    ) -> None:
        self.combine: Combine = combine
        self.disagreement_weight = float(disagreement_weight)
        self.batch_size = batch_size
        self.max_length = max_length
        problems = [f"reward.{problem}" for problem in bounds_problems(self)]
        if combine not in get_args(Combine):
            problems.append(f"reward.combine={combine}: must be one of {', '.join(get_args(Combine))}")
        if problems:
            raise ConfigError(problems)
        self._member = RewardModelReward(standardized=True, batch_size=batch_size, max_length=max_length)
        self.models: list[Standardized] = []

    def reads(self) -> Mapping[str, Reads]:
        """All reward models of earlier steps, at least two, or those that the step's ``from`` lists; and samples."""
        hint = "add pipeline=ensemble, or several steps {stage: reward_model, name: …}"
        return {REWARD_MODEL: Reads(kind=REWARD_MODEL, many=True, at_least=2, hint=hint), **READS_SAMPLES}

    def prepare(self, resources: RewardResources) -> EnsembleReward:
        """Load the members and standardize each on the same samples; returns itself.

        Raises:
            ConfigError: There are fewer than two reward models, or one scores all samples the same.
        """
        folders = resources.inputs[REWARD_MODEL]
        if len(folders) < 2:
            raise ConfigError(
                f"reward=ensemble: {len(folders)} reward model; it takes at least two: add pipeline=ensemble, or take "
                "reward=reward_model"
            )
        if len(set(folders)) < len(folders):
            raise ConfigError(
                "reward=ensemble: one reward model is given twice; list each once under from: {reward_model: …}"
            )
        samples = resources.samples()
        for number, folder in enumerate(folders, start=1):
            member = self._member.copy().load(folder, task=resources.task)
            option, remedy = (
                f"reward=ensemble: member_{number} ({folder.name})",
                "train it longer (reward_model.epochs)",
            )
            self.models.append(Standardized.on_samples(member, *samples, option=option, remedy=remedy))
        return self

    def to(self, device: torch.device | str) -> EnsembleReward:
        """Move every member; returns itself."""
        for member in self.models:
            member.to(device)
        return self

    def __call__(
        self, prompts: Sequence[Prompt], responses: Sequence[Completion], *, samples_per_prompt: int = 1
    ) -> RewardBatch:
        batches = [member(prompts, responses) for member in self.models]
        scored_B = joint_mask(batches)
        values_MB = torch.stack([batch.values_B for batch in batches])
        values_B, disagreement_B = combined(values_MB, self.combine, self.disagreement_weight)
        parts = {"disagreement": disagreement_B.masked_fill(~scored_B, float("nan"))}
        parts |= {f"member_{number}": batch.values_B for number, batch in enumerate(batches, start=1)}
        return RewardBatch(values_B.masked_fill(~scored_B, float("nan")), scored_B, parts=parts)


def combined(values_MB: Tensor, combine: Combine, disagreement_weight: float) -> tuple[Tensor, Tensor]:
    """One reward from those of M members, and how far these are apart.

    Args:
        values_MB: Rewards in a common unit.
        combine: How.
        disagreement_weight: λ of ``lower_bound``.

    Returns:
        The reward [B], and the members' population standard deviation [B].

    >>> combined(torch.tensor([[1.0], [3.0]]), "lower_bound", 0.5)
    (tensor([1.5000]), tensor([1.]))
    """
    disagreement_B = values_MB.std(0, correction=0)
    if combine == "min":
        return values_MB.amin(0), disagreement_B
    penalty = disagreement_weight if combine == "lower_bound" else 0.0
    return values_MB.mean(0) - penalty * disagreement_B, disagreement_B
