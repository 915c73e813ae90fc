"""The options that all training stages share, as their config groups spell them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from rlaif.bounds import bounds_problems
from rlaif.data.batches.modules import Batching
from rlaif.errors import ConfigError
from rlaif.modules.optim import OptimizerFactory, OptimizerSettings, Schedule
from rlaif.ranges import AtLeastOne, NonNegative, Positive, Share, ShareBelowOne


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
    lr: Positive
    """Learning rate after the warm-up."""
    weight_decay: NonNegative = 0.0
    """Of matrices."""
    warmup_fraction: Share = 0.0
    """Share of the steps in which the rate climbs."""
    schedule: Schedule = "constant"
    """After the warm-up: constant, or down to 0 by linear or cosine."""
    max_grad_norm: Positive | None = None
    """Gradients are scaled down to this norm; None leaves them."""

    def __post_init__(self) -> None:
        if problems := [f"{self.group}.{problem}" for problem in self._problems()]:
            raise ConfigError(problems)

    def _problems(self) -> Iterator[str]:
        """Every option that is out of its range: ``name=value: what is allowed``."""
        yield from bounds_problems(self)

    @property
    def optimization(self) -> OptimizerSettings:
        """The part that the modules take."""
        return OptimizerSettings(
            optimizer=self.optimizer,
            lr=self.lr,
            weight_decay=self.weight_decay,
            warmup_fraction=self.warmup_fraction,
            schedule=self.schedule,
        )


@dataclass(frozen=True, kw_only=True)
class SupervisedSettings(TrainingSettings):
    """Options of the stages that learn from a fixed data set."""

    batch_size: AtLeastOne
    """Examples per optimizer step, over all devices."""
    epochs: Positive = 1.0
    """Passes over the examples."""
    steps: AtLeastOne | None = None
    """Optimizer steps; None takes ``epochs``."""
    max_length: AtLeastOne = 1152
    """Tokens of prompt and response; a longer prompt is cut from the left."""
    validation_fraction: ShareBelowOne = 0.0
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
