"""One training step is one optimizer step: the same for every module that learns."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from lightning import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import ParallelStrategy
from torch import Tensor
from torch.nn import Parameter
from transformers import PreTrainedModel

from rlaif.inference.micro_batches import Rows, automatic_max_tokens, cut_by_tokens
from rlaif.modules.optim import OptimizerSettings

PartT = TypeVar("PartT")
RowsT = TypeVar("RowsT", bound=Rows)


class OptimizerStepModule(LightningModule):
    """A module whose ``training_step`` gets the rows of one optimizer step and takes that step.

    The rows are read in micro-batches of at most ``max_tokens_per_forward`` tokens. Their losses are divided by what
    counts in the whole step, over all processes, so that the accumulated gradient is that of the undivided step.
    Gradients are exchanged between processes in the last backward pass only, clipped by group, and used; then the
    learning rate follows its schedule.

    Args:
        trained: The model whose size decides on an automatic budget.
        optimization: Optimizer, learning rate, schedule and clipping.
        max_tokens_per_forward: Tokens per forward pass, padding included; None takes
            :func:`~rlaif.inference.micro_batches.automatic_max_tokens`.
    """

    def __init__(
        self, trained: PreTrainedModel, *, optimization: OptimizerSettings, max_tokens_per_forward: int | None = None
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.optimization = optimization
        self.max_tokens_per_forward = max_tokens_per_forward
        self._measured = (trained,)  # in a tuple, so that it is no second submodule

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out frozen weights, and the clock: ``trainer.max_time`` counts from each start."""
        kept = checkpoint.get("callbacks", {})
        checkpoint["callbacks"] = {name: state for name, state in kept.items() if not name.startswith("Timer")}
        frozen = self._frozen_names()
        weights = checkpoint["state_dict"]
        checkpoint["state_dict"] = {name: weight for name, weight in weights.items() if name not in frozen}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the frozen weights back, which are those that the training was started with."""
        frozen = self._frozen_names()
        own = {name: weight for name, weight in self.state_dict().items() if name in frozen}
        checkpoint["state_dict"] = {**own, **checkpoint["state_dict"]}

    def _frozen_names(self) -> set[str]:
        """Names of the weights that do not learn: all but the adapters', where there are some."""
        frozen = {name for name, weight in self.named_parameters(remove_duplicate=False) if not weight.requires_grad}
        return frozen & self.state_dict().keys()

    @property
    def token_budget(self) -> int:
        """Tokens per forward pass."""
        return self.max_tokens_per_forward or automatic_max_tokens(self._measured[0], str(self.trainer.precision))

    def micro_batches(self, batch: RowsT) -> list[RowsT]:
        """The micro-batches of an optimizer step, equally many on every process.

        Args:
            batch: This process's rows; every process has equally many.
        """
        lengths, budget = batch.row_tokens(), self.token_budget
        cut = cut_by_tokens(lengths, budget)
        if self.trainer.world_size > 1:
            most = self.all_gather(torch.tensor(len(cut), device=self.device))
            assert isinstance(most, Tensor)
            if len(cut) < int(most.max()):
                cut = cut_by_tokens(lengths, budget, num_parts=int(most.max()))
        return [batch] if len(cut) == 1 else [batch.rows(rows) for rows in cut]

    def parts_to_read(self, batch: RowsT) -> list[RowsT]:
        """The micro-batches of rows that are read without a gradient; processes may have different numbers of them."""
        cut = cut_by_tokens(batch.row_tokens(), self.token_budget)
        return [batch] if len(cut) == 1 else [batch.rows(rows) for rows in cut]

    def take_step(self, parts: Sequence[PartT], loss: Callable[[PartT], Tensor]) -> None:
        """Accumulate the gradients of all parts, and make one optimizer step.

        Args:
            parts: From :meth:`micro_batches`.
            loss: A part's share of the step's loss, already divided by what counts in the whole step. Gradients are
                averaged over processes.
        """
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        for number, part in enumerate(parts, start=1):
            with nullcontext() if number == len(parts) else self._without_exchange():
                self.manual_backward(loss(part))
        self._unscale(optimizer.optimizer)
        optimizer.step()
        optimizer.zero_grad()
        schedule = self.lr_schedulers()
        assert isinstance(schedule, torch.optim.lr_scheduler.LRScheduler)
        schedule.step()

    def clipped(self) -> Mapping[str, list[Parameter]]:
        """Parameters whose gradients are clipped together, by the name under which their norm is logged; an empty name
        logs none."""
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        return {"": [parameter for group in optimizer.param_groups for parameter in group["params"]]}

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Scale the gradients of each group down to the largest norm; Lightning has taken a loss scale out of them."""
        limit = self.optimization.max_grad_norm
        for name, parameters in self.clipped().items():
            trained = [parameter for parameter in parameters if parameter.grad is not None]
            if trained and (name or limit is not None):
                norm = torch.nn.utils.clip_grad_norm_(trained, math.inf if limit is None else limit)
                if name:
                    self.log(name, norm)

    def _without_exchange(self) -> AbstractContextManager[None]:
        """Keeps gradients in this process."""
        strategy = self.trainer.strategy
        return strategy.block_backward_sync() if isinstance(strategy, ParallelStrategy) else nullcontext()

    def _unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Take the loss scale of 16-mixed out of gradients before they are clipped: Lightning leaves it to a fused
        optimizer."""
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        if scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
            scaler.unscale_(optimizer)
