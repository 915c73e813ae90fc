"""The options that all training stages share, as their config groups spell them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from rlaif.data.batches.modules import Batching
from rlaif.errors import ConfigError
from rlaif.modules.optim import OptimizerFactory, OptimizerSettings, Schedule, optimizer_problems
from rlaif.ranges import AtLeastOne
from rlaif.runtime import Runtime


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Options of every training stage.

    Raises:
        ConfigError: With every option that is out of range.
    """

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
    max_tokens_per_forward: Runtime[AtLeastOne | None] = None
    """Tokens per forward pass with gradient on one device, padding included; the gradients of an optimizer step add up.
    None chooses by the model's size and the precision."""

    def __post_init__(self) -> None:
        if problems := [f"{self.group}.{problem}" for problem in self._problems()]:
            raise ConfigError(problems)

    def _problems(self) -> Iterator[str]:
        """Every option that is out of its range: ``name=value: what is allowed``."""
        yield from _not_above_zero(max_grad_norm=self.max_grad_norm)
        of_optimizer = list(_not_above_zero(lr=self.lr))
        if not 0 <= self.weight_decay < math.inf:
            of_optimizer.append(f"weight_decay={self.weight_decay}: must be at least 0")
        yield from of_optimizer or optimizer_problems(self.optimization)
        if not 0 <= self.warmup_fraction <= 1:
            yield f"warmup_fraction={self.warmup_fraction}: must be between 0 and 1"
        if self.max_tokens_per_forward is not None and self.max_tokens_per_forward < 1:
            yield f"max_tokens_per_forward={self.max_tokens_per_forward}: must be at least 1"

    @property
    def optimization(self) -> OptimizerSettings:
        """The part that the modules take."""
        return OptimizerSettings(
            optimizer=self.optimizer,
            lr=self.lr,
            weight_decay=self.weight_decay,
            warmup_fraction=self.warmup_fraction,
            schedule=self.schedule,
            max_grad_norm=self.max_grad_norm,
        )


@dataclass(frozen=True, kw_only=True)
class SupervisedSettings(TrainingSettings):
    """Options of the stages that learn from a fixed data set."""

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

    @property
    def batching(self) -> Batching:
        """The part that the data modules take."""
        return Batching(
            max_length=self.max_length,
            batch_size=self.batch_size,
            epochs=self.epochs,
            num_batches=self.steps,
            validation_fraction=self.validation_fraction,
        )

    def _problems(self) -> Iterator[str]:
        yield from super()._problems()
        yield from _not_above_zero(epochs=self.epochs)
        for name in ("batch_size", "steps", "max_length"):
            value = getattr(self, name)
            if value is not None and value < 1:
                yield f"{name}={value}: must be at least 1"
        if not 0 <= self.validation_fraction < 1:
            yield f"validation_fraction={self.validation_fraction}: must be at least 0 and below 1"


def dtype_problems(dtype: str) -> Iterator[str]:
    """Weights that a training with a small learning rate would hardly change.

    Args:
        dtype: Number format of the loaded weights (``model.dtype``).
    """
    if dtype != "float32":
        yield (
            f"model.dtype={dtype}: a trained model needs float32 weights, those of 16 bits lose most updates of a small"
            " learning rate; type model.dtype=float32 and, to compute in 16 bits, trainer.precision=bf16-mixed"
        )


def room_problems(max_length: int, limit: str, max_new_tokens: int) -> Iterator[str]:
    """Sampled responses that leave no room for a prompt, and so are not learned from: ``max_length=value: …``.

    Args:
        max_length: Tokens of prompt and response.
        limit: The option that limits the responses, as typed.
        max_new_tokens: Its value: tokens of the longest response.
    """
    if 0 < max_length <= max_new_tokens:
        yield (
            f"max_length={max_length}: a response has up to {limit}={max_new_tokens} tokens, and one that leaves no"
            f" room for its prompt is left out; type more than {max_new_tokens}, with room for prompts, or a lower"
            f" {limit}"
        )


def _not_above_zero(**values: float | None) -> Iterator[str]:
    for name, value in values.items():
        if value is not None and not 0 < value < math.inf:
            yield f"{name}={value}: must be a finite number above 0"
