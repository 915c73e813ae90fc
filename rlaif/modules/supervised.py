"""Base of the modules that learn from a fixed data set: a model, its losses, and their logging."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rlaif.errors import TrainingError
from rlaif.functional.losses import LossSum
from rlaif.inference.micro_batches import Rows
from rlaif.modules.distributed import mean_over_processes, pooled_mean
from rlaif.modules.optim import OptimizerSettings, configure, decay_groups
from rlaif.modules.optimizer_step import OptimizerStepModule

BatchT = TypeVar("BatchT", bound=Rows)


class SupervisedModule(OptimizerStepModule, Generic[BatchT]):
    """A model under one optimizer with a learning-rate schedule per step.

    Logs every figure of :meth:`figures` as ``train/NAME`` and, where there is a validation part, those of
    ``figure_names`` as ``validation/NAME``, each a total over its count, over all rows and processes. The figure
    ``loss`` is minimized.

    Args:
        model: What learns; saved with ``save_pretrained``.
        optimization: Optimizer, learning rate, schedule and clipping.
        max_tokens_per_forward: As in :class:`~rlaif.modules.optimizer_step.OptimizerStepModule`.
    """

    group: ClassVar[str] = ""
    """Config group of its options, for messages."""
    figure_names: tuple[str, ...] = ("loss",)
    """Figures that the validation logs: a process without a validation batch takes part in their sums."""

    def __init__(
        self, model: PreTrainedModel, *, optimization: OptimizerSettings, max_tokens_per_forward: int | None = None
    ) -> None:
        super().__init__(model, optimization=optimization, max_tokens_per_forward=max_tokens_per_forward)
        self.model = model
        self._validated: list[Mapping[str, LossSum]] = []

    def figures(self, batch: BatchT) -> Mapping[str, LossSum]:
        """``loss`` with its gradient, and whatever else is logged."""
        raise NotImplementedError

    def loss_count(self, batch: BatchT) -> Tensor:
        """The count of the ``loss`` of a batch, without a forward pass."""
        raise NotImplementedError

    def trained_parts(self) -> list[nn.Module]:
        """The modules whose weights learn."""
        return [self.model]

    def on_train_start(self) -> None:
        """Put the model into training mode."""
        self.model.train()

    def training_step(self, batch: BatchT, batch_idx: int) -> None:
        """One optimizer step on the mean loss of the rows of all processes."""
        # Gradients are averaged over processes: dividing by the mean count gives the loss of the joint batch.
        count = mean_over_processes(self, self.loss_count(batch))
        found: list[Mapping[str, LossSum]] = []

        def loss(part: BatchT) -> Tensor:
            figures = self.figures(part)
            self._check(figures["loss"].total)
            found.append(_detached(figures))
            return figures["loss"].total / count

        self.take_step(self.micro_batches(batch), loss)
        self._log("train", tuple(found[0]), found)

    def _check(self, loss: Tensor) -> None:
        """Refuse to learn from a loss that is no number.

        Raises:
            TrainingError: It is none.
        """
        if not torch.isfinite(loss):
            raise TrainingError(
                f"{self.group or type(self).__name__}: the loss is {loss.item()}; nothing was learned from it, and the"
                " next start goes on from the last checkpoint; take a lower learning rate (lr), or clip gradients"
                " (max_grad_norm=1)"
            )

    def validation_step(self, batch: BatchT, batch_idx: int) -> None:
        """Add the figures of a batch to the validation's sums."""
        self._validated += [_detached(self.figures(part)) for part in self.parts_to_read(batch)]

    def on_validation_epoch_end(self) -> None:
        """Log the figures of the validation over all processes."""
        self._log("validation", self.figure_names, self._validated)
        self._validated = []

    def _log(self, part: str, names: tuple[str, ...], found: list[Mapping[str, LossSum]]) -> None:
        for name in names:
            self.log(f"{part}/{name}", pooled_mean(self, [sums[name] for sums in found]))

    def configure_optimizers(self) -> Any:
        """One optimizer with its rate schedule."""
        groups = decay_groups(
            self.trained_parts(), lr=self.optimization.lr, weight_decay=self.optimization.weight_decay
        )
        return configure(self.optimization, groups, self.trainer)


def _detached(figures: Mapping[str, LossSum]) -> dict[str, LossSum]:
    return {name: LossSum(part.total.detach(), part.count.detach()) for name, part in figures.items()}
