"""The reward of canonical RLAIF: a reward model trained on labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlaif.bounds import check_bounds
from rlaif.models.classifier_text import ClassifierText
from rlaif.models.classifiers import load_trained_reward_model
from rlaif.models.load import ModelSpec, load_tokenizer
from rlaif.models.response_scorer import ResponseScorer
from rlaif.ranges import AtLeastOne
from rlaif.rewards.base import Reward, RewardBatch, RewardResources
from rlaif.rewards.standardized import READS_SAMPLES, STANDARDIZED, UNSTANDARDIZED, Standardized
from rlaif.roles import Reads
from rlaif.tasks.base import Task
from rlaif.types import Completion, Prompt

REWARD_MODEL = "reward_model"
"""Role, and kind, of the artefact that is read."""


class RewardModelReward:
    """Scores prompt and response with a sequence-classification model, in float32.

    A reward model is trained on differences only: its zero and its unit are arbitrary, so by default the reward is
    :class:`~rlaif.rewards.standardized.Standardized` on the SFT policy's samples.

    Args:
        standardized: Give rewards in standard units of the SFT samples.
        batch_size: Responses per forward pass.
        max_length: Tokens of prompt and response; a longer prompt is cut from the left.

    Raises:
        ConfigError: An option is out of range.
    """

    def __init__(
        self, *, standardized: bool = True, batch_size: AtLeastOne = 64, max_length: AtLeastOne = 2048
    ) -> None:
        self.standardized = standardized
        self.batch_size = batch_size
        self.max_length = max_length
        check_bounds(self, "reward")

    def reads(self) -> Mapping[str, Reads]:
        """The reward model, and samples to take zero and unit from."""
        roles = {REWARD_MODEL: Reads(kind=REWARD_MODEL, hint="add reward=labeler or pipeline=rlaif")}
        return {**roles, **READS_SAMPLES} if self.standardized else roles

    def prepare(self, resources: RewardResources) -> Reward:
        """Load the reward model's folder and, where asked for, take zero and unit from SFT samples."""
        self.load(resources.path(REWARD_MODEL), task=resources.task)
        if not self.standardized:
            return self
        remedy = f"train the reward model longer (reward_model.epochs) or {UNSTANDARDIZED}"
        return Standardized.on_samples(self, *resources.samples(), option=STANDARDIZED, remedy=remedy)

    def copy(self) -> RewardModelReward:
        """Another reward with the same options, which has loaded nothing."""
        return RewardModelReward(standardized=self.standardized, batch_size=self.batch_size, max_length=self.max_length)

    def load(self, folder: Path | str, *, task: Task) -> RewardModelReward:
        """Read a reward model's folder; returns itself.

        Raises:
            EngineError: It holds no reward model.
        """
        spec = ModelSpec(str(folder))
        return self.use(load_trained_reward_model(spec), load_tokenizer(spec), task=task)

    def use(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, task: Task) -> RewardModelReward:
        """Score with a model that is already in memory; returns itself."""
        text = ClassifierText(tokenizer, max_length=self.max_length, task=task)
        self.raw_scores = ResponseScorer(model, text, batch_size=self.batch_size)
        return self

    def to(self, device: torch.device | str) -> RewardModelReward:
        """Move the model; returns itself."""
        torch.nn.Module.to(self.raw_scores.model, device)
        return self

    def __call__(
        self, prompts: Sequence[Prompt], responses: Sequence[Completion], *, samples_per_prompt: int = 1
    ) -> RewardBatch:
        scores_B = self.raw_scores(prompts, responses)
        return RewardBatch(scores_B, torch.isfinite(scores_B))
