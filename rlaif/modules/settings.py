"""The options of the three training stages, as their config groups spell them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

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
class SFTSettings:
    """Config group ``sft``."""

    optimizer: OptimizerFactory
    """Partial of an optimizer class."""
    lr: float
    """Learning rate after the warm-up."""
    batch_size: int
    """Demonstrations per optimizer step, over all devices."""
    epochs: float = 1.0
    """Passes over the demonstrations."""
    steps: int | None = None
    """Optimizer steps; None takes ``epochs``."""
    skip: bool = False
    """True takes the model as it is for the SFT policy (the paper's dialogue tasks)."""
    max_length: int = 1152
    """Tokens of prompt and response; a longer prompt is cut from the left."""
    validation_fraction: float = 0.0
    """Share of the prompts held out for a validation loss at the end."""
    weight_decay: float = 0.0
    """Of matrices."""
    warmup_fraction: float = 0.0
    """Share of the steps in which the rate climbs."""
    schedule: Schedule = "constant"
    """After the warm-up: constant, or down to 0 by linear or cosine."""
    max_grad_norm: float | None = None
    """Gradients are scaled down to this norm; None leaves them."""

    def __post_init__(self) -> None:
        _check("sft", self.lr, self.batch_size, self.epochs, self.steps, self.validation_fraction, self.warmup_fraction)

    def module(self, model: PreTrainedModel) -> SFTModule:
        """What learns; ``model`` is changed in place."""
        return SFTModule(
            model,
            optimizer=self.optimizer,
            lr=self.lr,
            weight_decay=self.weight_decay,
            warmup_fraction=self.warmup_fraction,
            schedule=self.schedule,
        )


@dataclass(frozen=True, kw_only=True)
class RewardModelSettings:
    """Config group ``reward_model``."""

    optimizer: OptimizerFactory
    """Partial of an optimizer class."""
    lr: float
    """Learning rate after the warm-up."""
    batch_size: int
    """Pairs per optimizer step, over all devices."""
    init: Literal["sft", "base"] = "sft"
    """Whose weights it starts from: the SFT model, or the model before SFT."""
    epochs: float = 1.0
    """Passes over the labeled pairs."""
    steps: int | None = None
    """Optimizer steps; None takes ``epochs``."""
    max_length: int = 1152
    """Tokens of prompt and response; a longer prompt is cut from the left."""
    validation_fraction: float = 0.0
    """Share of the prompts held out for validation."""
    weight_decay: float = 0.0
    """Of matrices."""
    warmup_fraction: float = 0.0
    """Share of the steps in which the rate climbs."""
    schedule: Schedule = "constant"
    """After the warm-up: constant, or down to 0 by linear or cosine."""
    max_grad_norm: float | None = None
    """Gradients are scaled down to this norm; None leaves them."""

    def __post_init__(self) -> None:
        _check(
            "reward_model",
            self.lr,
            self.batch_size,
            self.epochs,
            self.steps,
            self.validation_fraction,
            self.warmup_fraction,
        )

    def module(self, model: PreTrainedModel) -> RewardModelModule:
        """What learns; ``model`` is changed in place."""
        return RewardModelModule(
            model,
            optimizer=self.optimizer,
            lr=self.lr,
            weight_decay=self.weight_decay,
            warmup_fraction=self.warmup_fraction,
            schedule=self.schedule,
        )


@dataclass(frozen=True, kw_only=True)
class PolicySettings:
    """Config group ``policy``."""

    objective: Objective
    """Turns rewards into advantages and losses; config group ``policy/objective``."""
    optimizer: OptimizerFactory
    """Partial of an optimizer class."""
    lr: float
    """Learning rate of the policy after the warm-up."""
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
    weight_decay: float = 0.0
    """Of the policy's matrices."""
    warmup_fraction: float = 0.0
    """Share of the steps in which the rates climb."""
    schedule: Schedule = "constant"
    """After the warm-up: constant, or down to 0 by linear or cosine."""
    max_grad_norm: float | None = None
    """Gradients are scaled down to this norm; None leaves them."""

    def __post_init__(self) -> None:
        _check("policy", self.lr, self.prompts_per_step, None, self.steps, 0.0, self.warmup_fraction)

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
            optimizer=self.optimizer,
            steps=self.steps,
            lr=self.lr,
            value_lr=self.value_lr,
            value=self.value,
            minibatch_size=self.minibatch_size,
            weight_decay=self.weight_decay,
            warmup_fraction=self.warmup_fraction,
            schedule=self.schedule,
        )


def _check(
    group: str,
    lr: float,
    count: int,
    epochs: float | None,
    steps: int | None,
    validation_fraction: float,
    warmup_fraction: float,
) -> None:
    """Collect every problem of a training group.

    Raises:
        ConfigError: Some option is out of its range.
    """
    count_name = "prompts_per_step" if group == "policy" else "batch_size"
    problems = []
    if not lr > 0:
        problems.append(f"{group}.lr={lr}: must be above 0")
    if count < 1:
        problems.append(f"{group}.{count_name}={count}: must be at least 1")
    if epochs is not None and not epochs > 0:
        problems.append(f"{group}.epochs={epochs}: must be above 0")
    if steps is not None and steps < 1:
        problems.append(f"{group}.steps={steps}: must be at least 1")
    if not 0 <= validation_fraction < 1:
        problems.append(f"{group}.validation_fraction={validation_fraction}: must be at least 0 and below 1")
    if not 0 <= warmup_fraction <= 1:
        problems.append(f"{group}.warmup_fraction={warmup_fraction}: must be between 0 and 1")
    if problems:
        raise ConfigError(problems)
