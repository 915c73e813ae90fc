"""The options of the three training stages, as their config groups spell them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlaif.errors import ConfigError
from rlaif.modules.optim import OptimizerFactory, Schedule
from rlaif.modules.policy import PolicyModule
from rlaif.modules.reward_model import RewardModelModule
from rlaif.modules.rollouts import ResponseSampler
from rlaif.modules.sft import SFTModule
from rlaif.objectives.base import Objective
from rlaif.rewards.base import Reward
from rlaif.tasks.base import Task
from rlaif.types import Prompt


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """What every training stage can be told."""

    group: ClassVar[str]
    """Config group of the stage."""

    optimizer: OptimizerFactory
    """Partial of an optimizer class."""
    lr: float
    """Learning rate after the warm-up."""
    weight_decay: float = 0.0
    """Of matrices."""
    warmup_fraction: float = 0.0
    """Share of the steps in which the rate climbs."""
    schedule: Schedule = "constant"
    """After the warm-up: constant, or down to 0 by linear or cosine."""
    max_grad_norm: float | None = None
    """Gradients are scaled down to this norm; None leaves them."""

    def __post_init__(self) -> None:
        if problems := [f"{self.group}.{problem}" for problem in self._problems()]:
            raise ConfigError(problems)

    def _problems(self) -> Iterator[str]:
        """Every option that is out of its range: ``name=value: what is allowed``."""
        if not self.lr > 0:
            yield f"lr={self.lr}: must be above 0"
        if not 0 <= self.warmup_fraction <= 1:
            yield f"warmup_fraction={self.warmup_fraction}: must be between 0 and 1"

    def _optimization(self) -> dict[str, Any]:
        """The arguments that every module takes."""
        return {
            "optimizer": self.optimizer,
            "lr": self.lr,
            "weight_decay": self.weight_decay,
            "warmup_fraction": self.warmup_fraction,
            "schedule": self.schedule,
        }


@dataclass(frozen=True, kw_only=True)
class SupervisedSettings(TrainingSettings):
    """What both stages that learn from a fixed data set can be told."""

    batch_size: int
    """Examples per optimizer step, over all devices."""
    epochs: float = 1.0
    """Passes over the examples."""
    steps: int | None = None
    """Optimizer steps; None takes ``epochs``."""
    max_length: int = 1152
    """Tokens of prompt and response; a longer prompt is cut from the left."""
    validation_fraction: float = 0.0
    """Share of the prompts held out for validation."""

    def batching(self) -> dict[str, Any]:
        """The arguments that every data module takes."""
        return {
            "max_length": self.max_length,
            "batch_size": self.batch_size,
            "epochs": self.epochs,
            "num_batches": self.steps,
            "validation_fraction": self.validation_fraction,
        }

    def _problems(self) -> Iterator[str]:
        yield from super()._problems()
        if self.batch_size < 1:
            yield f"batch_size={self.batch_size}: must be at least 1"
        if not self.epochs > 0:
            yield f"epochs={self.epochs}: must be above 0"
        if self.steps is not None and self.steps < 1:
            yield f"steps={self.steps}: must be at least 1"
        if not 0 <= self.validation_fraction < 1:
            yield f"validation_fraction={self.validation_fraction}: must be at least 0 and below 1"


@dataclass(frozen=True, kw_only=True)
class SFTSettings(SupervisedSettings):
    """Config group ``sft``; the examples are demonstrations."""

    group: ClassVar[str] = "sft"

    skip: bool = False
    """True takes the model as it is for the SFT policy (the paper's dialogue tasks)."""

    def module(self, model: PreTrainedModel) -> SFTModule:
        """What learns; ``model`` is changed in place."""
        return SFTModule(model, **self._optimization())


@dataclass(frozen=True, kw_only=True)
class RewardModelSettings(SupervisedSettings):
    """Config group ``reward_model``; the examples are labeled pairs."""

    group: ClassVar[str] = "reward_model"

    init: Literal["sft", "base"] = "sft"
    """Whose weights it starts from: the SFT model, or the model before SFT."""

    def module(self, model: PreTrainedModel) -> RewardModelModule:
        """What learns; ``model`` is changed in place."""
        return RewardModelModule(model, **self._optimization())


@dataclass(frozen=True, kw_only=True)
class PolicySettings(TrainingSettings):
    """Config group ``policy``."""

    group: ClassVar[str] = "policy"

    objective: Objective
    """Turns rewards into advantages and losses; config group ``policy/objective``."""
    steps: int
    """Policy steps; each draws fresh responses and makes one optimizer step."""
    prompts_per_step: int
    """Prompts per policy step, over all devices."""
    samples_per_prompt: int = 1
    """Responses per prompt."""
    temperature: float = 0.9
    """Of the sampling; training is on this distribution."""
    max_new_tokens: int = 128
    """Longest response in tokens."""
    max_prompt_tokens: int = 1024
    """A longer prompt is cut from the left."""
    strip_trailing: str = ""
    """Characters stripped from the end of a response before it is rewarded."""
    value: Literal["head", "model"] = "head"
    """Learned baseline: a head on the policy's states, or a model of its own as in the paper."""
    value_lr: float = 1e-2
    """Learning rate of the learned baseline."""
    minibatch_size: int | None = None
    """Responses per forward pass with gradient on one device, whole prompts; gradients add up over the step."""

    def _problems(self) -> Iterator[str]:
        yield from super()._problems()
        if self.prompts_per_step < 1:
            yield f"prompts_per_step={self.prompts_per_step}: must be at least 1"
        if self.steps < 1:
            yield f"steps={self.steps}: must be at least 1"

    def module(
        self,
        policy: PreTrainedModel,
        *,
        reference: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        task: Task,
        prompts: Sequence[Prompt],
        reward: Reward,
        seed: int,
    ) -> PolicyModule:
        """What learns; ``policy`` is changed in place, ``reference`` is another copy of the SFT model."""
        sampler = ResponseSampler(
            tokenizer,
            task=task,
            prompts=prompts,
            prompts_per_step=self.prompts_per_step,
            samples_per_prompt=self.samples_per_prompt,
            temperature=self.temperature,
            max_new_tokens=self.max_new_tokens,
            max_prompt_tokens=self.max_prompt_tokens,
            strip_trailing=self.strip_trailing,
            seed=seed,
        )
        return PolicyModule(
            policy,
            reference=reference,
            sampler=sampler,
            reward=reward,
            objective=self.objective,
            steps=self.steps,
            value_lr=self.value_lr,
            value=self.value,
            minibatch_size=self.minibatch_size,
            **self._optimization(),
        )
