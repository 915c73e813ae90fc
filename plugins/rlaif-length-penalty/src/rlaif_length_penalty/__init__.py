"""A reward with resources: the reward model's score minus a price for each word of the response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from rlaif.rewards.base import Reward, RewardBatch, RewardResources
from rlaif.rewards.reward_model import RewardModelReward
from rlaif.roles import Reads
from rlaif.types import Completion, Prompt


class LengthPenaltyReward:
    """The standardized score of the run's reward model, less for longer responses.

    Args:
        per_word: What a word costs, in standard deviations of the SFT samples' scores.
        batch_size: Responses per forward pass of the reward model.
    """

    def __init__(self, *, per_word: float = 0.02, batch_size: int = 64) -> None:
        self.per_word = per_word
        self.batch_size = batch_size
        self.scorer: Reward | None = None

    def reads(self) -> Mapping[str, Reads]:
        """The reward model of the nearest earlier step that trains one."""
        return {"reward_model": Reads(kind="reward_model")}

    def prepare(self, resources: RewardResources) -> LengthPenaltyReward:
        """Load the reward model and take zero and unit from samples of the SFT policy; returns itself."""
        self.scorer = RewardModelReward(standardized=True, batch_size=self.batch_size).prepare(resources)
        return self

    def __call__(
        self, prompts: Sequence[Prompt], responses: Sequence[Completion], *, samples_per_prompt: int = 1
    ) -> RewardBatch:
        """One value per response; missing where the reward model gives none."""
        assert self.scorer is not None, "prepare is called first"
        scores = self.scorer(prompts, responses, samples_per_prompt=samples_per_prompt)
        words_B = torch.tensor([float(len(response.text.split())) for response in responses])
        return scores._replace(values_B=scores.values_B - self.per_word * words_B.to(scores.values_B.device))

    def to(self, device: torch.device | str) -> LengthPenaltyReward:
        """Move the reward model; returns itself."""
        assert self.scorer is not None, "prepare is called first"
        self.scorer.to(device)
        return self
