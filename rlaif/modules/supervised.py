"""Base of the modules that learn from a fixed data set: a model and its optimization."""

from __future__ import annotations

from typing import Any

from lightning import LightningModule
from transformers import PreTrainedModel

from rlaif.modules.optim import OptimizerSettings, configure, decay_groups


class SupervisedModule(LightningModule):
    """A model under one optimizer with a learning-rate schedule per step.

    Args:
        model: What learns; saved with ``save_pretrained``.
        optimization: Optimizer, learning rate and schedule.
    """

    def __init__(self, model: PreTrainedModel, *, optimization: OptimizerSettings) -> None:
        super().__init__()
        self.model = model
        self.optimization = optimization

    def on_train_start(self) -> None:
        """Put the model into training mode."""
        self.model.train()

    def configure_optimizers(self) -> Any:
        """One optimizer with its rate schedule."""
        groups = decay_groups([self.model], lr=self.optimization.lr, weight_decay=self.optimization.weight_decay)
        return configure(self.optimization, groups, self.trainer)
