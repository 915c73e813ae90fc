"""What both modules that learn from a fixed data set share: a model and how it is optimized."""

from __future__ import annotations

from typing import Any

from lightning import LightningModule
from transformers import PreTrainedModel

from rlaif.modules.optim import OptimizerFactory, Schedule, configure, decay_groups


class SupervisedModule(LightningModule):
    """A model under one optimizer with a learning-rate schedule per step.

    Args:
        model: What learns; saved with ``save_pretrained``.
        optimizer: Partial of an optimizer class.
        lr: Learning rate after the warm-up.
        weight_decay: Of matrices.
        warmup_fraction: Share of the steps in which the rate climbs.
        schedule: What follows the warm-up.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        optimizer: OptimizerFactory,
        lr: float,
        weight_decay: float = 0.0,
        warmup_fraction: float = 0.0,
        schedule: Schedule = "constant",
    ) -> None:
        super().__init__()
        self.model = model
        self.optimizer = optimizer
        self.lr = lr
        self.weight_decay = weight_decay
        self.warmup_fraction = warmup_fraction
        self.schedule: Schedule = schedule

    def on_train_start(self) -> None:
        self.model.train()

    def configure_optimizers(self) -> Any:
        groups = decay_groups([self.model], lr=self.lr, weight_decay=self.weight_decay)
        return configure(
            self.optimizer(groups), self.trainer, warmup_fraction=self.warmup_fraction, schedule=self.schedule
        )
