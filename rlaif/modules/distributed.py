"""Sums and means over the processes of a training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor

from rlaif.functional.losses import LossSum


def mean_over_processes(module: LightningModule, value: Tensor) -> Tensor:
    """Mean of a scalar over all processes, without gradient; the value itself where there is one process."""
    value = value.detach()
    if module.trainer.world_size == 1:
        return value
    reduced = module.trainer.strategy.reduce(value.clone(), reduce_op="mean")
    assert isinstance(reduced, Tensor)
    return reduced


def has_whole_weights(trainer: Trainer) -> bool:
    """True where every process holds all weights of the model, so that one of them can read them alone."""
    return isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy)


def of_all_processes(module: LightningModule, own_N: Tensor) -> Tensor:
    """Values of all processes, those of the first one first; only the own ones carry a gradient.

    Args:
        module: Whose processes are meant.
        own_N: Of this process; every process has equally many.
    """
    if module.trainer.world_size == 1:
        return own_N
    gathered = module.all_gather(own_N.detach())
    assert isinstance(gathered, Tensor)
    rows = list(gathered.unbind())
    rows[module.global_rank] = own_N
    return torch.cat(rows)


def pooled_mean(module: LightningModule, parts: Sequence[LossSum], *, empty: float = 0.0) -> Tensor:
    """Total over count of all parts of all processes, without gradient; ``empty`` where nothing counts."""
    zero = torch.zeros((), device=module.device)
    total = mean_over_processes(module, sum((part.total for part in parts), zero))
    count = mean_over_processes(module, sum((part.count for part in parts), zero))
    return torch.where(count > 0, LossSum(total, count).mean, empty)
