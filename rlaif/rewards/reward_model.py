"""The reward of canonical RLAIF: a reward model trained on labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlaif.errors import ConfigError
from rlaif.models.classifier_text import ClassifierText
from rlaif.models.load import ModelSpec, load_reward_model, load_tokenizer
from rlaif.models.response_scorer import ResponseScorer
from rlaif.rewards.base import RewardBatch
from rlaif.tasks.base import Task
from rlaif.types import Completion, Prompt


class RewardModelReward:
    """Scores prompt and response with a sequence-classification model, in float32.

    A reward model is trained on differences only: its zero and its unit are arbitrary, while β weighs the
    reward against nats. So by default the reward is put into standard units of the policy's starting point:
    minus the mean, over the deviation, of the SFT samples' scores (:meth:`standardize`; not in the paper, whose
    reward is the raw score: ``reward.standardized=false``).

    Args:
        standardized: Give rewards in standard units of the SFT samples.
        batch_size: Responses per forward pass.
        max_length: Tokens of prompt and response; a longer prompt is cut from the left.
    """

    def __init__(self, *, standardized: bool = True, batch_size: int = 64, max_length: int = 2048) -> None:
        if batch_size < 1:
            raise ConfigError(f"reward.batch_size={batch_size}: must be at least 1")
        self.standardized = standardized
        self.batch_size = batch_size
        self.max_length = max_length
        self.mean = 0.0
        self.std = 1.0

    def load(self, folder: Path | str, *, task: Task) -> RewardModelReward:
        """Read a reward model's folder; returns itself."""
        spec = ModelSpec(str(folder))
        return self.use(load_reward_model(spec), load_tokenizer(spec), task=task)

    def use(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, task: Task) -> RewardModelReward:
        """Score with a model that is already in memory; returns itself."""
        text = ClassifierText(tokenizer, max_length=self.max_length, task=task)
        self.raw_scores = ResponseScorer(model, text, batch_size=self.batch_size)
        return self

    def to(self, device: torch.device | str) -> RewardModelReward:
        """Move the model; returns itself."""
        torch.nn.Module.to(self.raw_scores.model, device)
        return self

    def standardize(self, prompts: Sequence[Prompt], responses: Sequence[Completion]) -> RewardModelReward:
        """Fix zero and unit on samples of the SFT policy; does nothing when ``standardized`` is off.

        Raises:
            ConfigError: All samples score the same, so there is no unit.
        """
        if self.standardized:
            scores_B = self.raw_scores(prompts, responses).double()
            self.mean, self.std = scores_B.mean().item(), scores_B.std(correction=0).item()
            if not self.std > 0:
                raise ConfigError(
                    f"reward.standardized=true: all {len(responses)} SFT samples score {self.mean:.4g}, which leaves"
                    " no unit; train the reward model longer (reward_model.epochs) or set reward.standardized=false"
                )
        return self

    def __call__(self, prompts: Sequence[Prompt], responses: Sequence[Completion]) -> RewardBatch:
        scores_B = self.raw_scores(prompts, responses)
        return RewardBatch((scores_B - self.mean) / self.std, torch.isfinite(scores_B))
