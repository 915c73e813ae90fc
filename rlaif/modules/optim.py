"""Optimizer and learning-rate schedule shared by the three modules."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from lightning import Trainer
from torch import nn

from rlaif.errors import ConfigError

Schedule = Literal["constant", "linear", "cosine"]
OptimizerFactory = Callable[..., torch.optim.Optimizer]
"""A partial of an optimizer class: called with parameter groups, ``lr`` of each group included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerSettings:
    """Settings of an optimizer and its schedule."""

    optimizer: OptimizerFactory
    """Partial of an optimizer class."""
    lr: float
    """Learning rate after the warm-up."""
    weight_decay: float = 0.0
    """Of matrices."""
    warmup_fraction: float = 0.0
    """Share of the steps in which the rate climbs."""
    schedule: Schedule = "constant"
    """Schedule after the warm-up: constant, or down to 0 by linear or cosine."""
    max_grad_norm: float | None = None
    """Gradients of each group are scaled down to this norm; None leaves them."""


def lr_factor(step: int, *, num_steps: int, warmup_fraction: float, schedule: Schedule) -> float:
    """Factor of the learning rate at an optimizer step.

    Args:
        step: Optimizer steps already done, from 0.
        num_steps: Optimizer steps of the whole training.
        warmup_fraction: Share of the steps in which the rate climbs linearly to its full value.
        schedule: What follows: ``constant``, or down to 0 after the last step by ``linear`` or ``cosine``.

    Returns:
        A factor in (0, 1]; the first step of a warm-up is above 0.

    >>> [lr_factor(k, num_steps=8, warmup_fraction=0.5, schedule="linear") for k in range(8)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    warmup_steps = math.ceil(warmup_fraction * num_steps)
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    done = min(1.0, (step - warmup_steps) / max(1, num_steps - warmup_steps))
    if schedule == "constant":
        return 1.0
    return 1.0 - done if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))


def decay_groups(modules: Iterable[nn.Module], *, lr: float, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups: matrices decay, vectors (norms, biases) do not; a tied parameter is listed once.

    Args:
        modules: Modules whose trainable parameters learn at ``lr``.
        lr: Learning rate of both groups.
        weight_decay: Decay of parameters with at least two axes.
    """
    parameters = {id(p): p for module in modules for p in module.parameters() if p.requires_grad}.values()
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "lr": lr, "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "lr": lr, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def optimizer_problems(settings: OptimizerSettings) -> Iterator[str]:
    """What is wrong with an optimizer's own options, found by a step of a matrix and a vector: ``optimizer: …``.

    Optimizers of other packages than torch and transformers are made and make no step: some have no kernel for a CPU.

    Args:
        settings: With a learning rate and a decay that are in their ranges.
    """
    name = getattr(getattr(settings.optimizer, "func", settings.optimizer), "__name__", "the optimizer")
    matrix, vector = (nn.Parameter(torch.ones(shape)) for shape in ((2, 2), (2,)))
    tried = nn.ParameterList([matrix, vector])
    try:
        optimizer = settings.optimizer(decay_groups([tried], lr=settings.lr, weight_decay=settings.weight_decay))
        if type(optimizer).__module__.partition(".")[0] not in ("torch", "transformers"):
            return
        for group in optimizer.param_groups:
            group["lr"] = 0.0
        for parameter in (matrix, vector):
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
    except (ValueError, TypeError, RuntimeError, LookupError) as error:
        yield f"optimizer: {name} refuses its options: {error}; correct them, or leave out what was added"
        return
    if not (torch.equal(matrix, torch.ones(2, 2)) and torch.equal(vector, torch.ones(2))):
        yield (
            f"optimizer: with these options {name} sets its own learning rate, and lr={settings.lr} and the schedule"
            " have no effect; switch that off, with Adafactor by optimizer.relative_step=false"
        )


def configure(settings: OptimizerSettings, groups: list[dict[str, Any]], trainer: Trainer) -> dict[str, Any]:
    """The value of ``configure_optimizers``: one optimizer, its rate set before every step.

    Args:
        settings: Optimizer and schedule.
        groups: From :func:`decay_groups`; their learning rates follow one schedule.
        trainer: Its ``max_steps`` end the schedule.

    Raises:
        ConfigError: The trainer has no number of steps, so that a schedule has no end.
    """
    if trainer.max_steps < 1:
        raise ConfigError(
            f"trainer.max_steps={trainer.max_steps}: must be the number of optimizer steps, which ends"
            " the learning-rate schedule"
        )

    def factor(step: int) -> float:
        return lr_factor(
            step,
            num_steps=trainer.max_steps,
            warmup_fraction=settings.warmup_fraction,
            schedule=settings.schedule,
        )

    optimizer = settings.optimizer(groups)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
