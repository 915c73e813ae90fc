"""The Lightning trainer that every stage uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Timer

from rlaif.errors import GateStopped
from rlaif.interruption import interruption
from rlaif.modules.checkpointing import AtomicCheckpointIO, PeriodicCheckpoint, resume_checkpoint
from rlaif.modules.notices import quiet_lightning
from rlaif.modules.stopping import StopOnSignal, StoppedBySignal


@runtime_checkable
class StopRule(Protocol):
    """A callback that may end a training as its configuration says: the training is then finished."""

    has_stopped: bool
    """True, on every process, once it has ended the training."""


def build_trainer(
    trainer_factory: Callable[..., Trainer],
    *,
    directory: Path,
    max_steps: int,
    callbacks: Sequence[Callback] = (),
    logger: Any = False,
    **options: Any,
) -> Trainer:
    """A trainer that writes into given directories only, checkpoints atomically, and prints nothing.

    Args:
        trainer_factory: The group ``trainer``: a partial of ``lightning.Trainer`` with the hardware options.
        directory: Working directory of the stage.
        max_steps: Optimizer steps of the whole training.
        callbacks: Progress, curves, checkpoints; Lightning calls checkpoints last, so that a curve's row is on disk
            before the checkpoint that counts on it. A training with checkpoints stops on signals.
        logger: Lightning loggers, or False.
        options: Anything else that ``lightning.Trainer`` takes.
    """
    quiet_lightning()
    savers = [callback for callback in callbacks if isinstance(callback, PeriodicCheckpoint)]
    return trainer_factory(
        default_root_dir=directory,
        max_steps=max_steps,
        max_epochs=-1,
        callbacks=[*callbacks, *map(StopOnSignal, savers)],
        logger=logger,
        plugins=[AtomicCheckpointIO()],
        enable_checkpointing=bool(savers),
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        **options,
    )


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global random state inside, restore it outside (dropout is the only reader)."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def fit(trainer: Trainer, module: LightningModule, datamodule: LightningDataModule | None = None, *, seed: int) -> int:
    """Train to the end, from the newest checkpoint if there is one.

    Args:
        trainer: From :func:`build_trainer`; its :class:`PeriodicCheckpoint` knows the directory of the checkpoints.
        module: What learns.
        datamodule: Where batches come from; None when the module makes its own (policy).
        seed: Seed of the stage.

    Returns:
        The optimizer step from which training went on; 0 for a fresh start.

    Raises:
        GateStopped: The training ended before its last step, e.g. by ``trainer.max_time``, and by no :class:`StopRule`.
        KeyboardInterrupt: Ctrl-C or SIGTERM stopped it.
    """
    savers = [callback for callback in trainer.callbacks if isinstance(callback, PeriodicCheckpoint)]  # type: ignore[attr-defined]
    found = resume_checkpoint(savers[0].directory) if savers else None
    resumed_step = 0 if found is None else int(found.stem.removeprefix("step="))
    with seeded(seed), _signals_as_exceptions(trainer):
        trainer.fit(module, datamodule=datamodule, ckpt_path=found, weights_only=True)
    rules = [callback for callback in trainer.callbacks if isinstance(callback, StopRule)]  # type: ignore[attr-defined]
    if trainer.global_step < trainer.max_steps and not any(rule.has_stopped for rule in rules):
        limit = _limit(trainer)
        raise GateStopped(
            f"{limit}the training stopped after {trainer.global_step:,} of {trainer.max_steps:,} optimizer steps and is"
            " not finished; its checkpoint is kept: start the same command again to go on"
        )
    return resumed_step


@contextmanager
def _signals_as_exceptions(trainer: Trainer) -> Iterator[None]:
    """Raise what stopped a training: Lightning itself ends the process with code 1 after Ctrl-C."""
    try:
        yield
    except StoppedBySignal as stopped:
        raise interruption(stopped.signum) from None
    except SystemExit as ended:
        if isinstance(ended.__context__, KeyboardInterrupt):
            raise ended.__context__ from None
        raise
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, StopOnSignal) and callback.signum is not None:
            raise interruption(callback.signum)


def _limit(trainer: Trainer) -> str:
    """The option that ended a training early, as typed, with a colon; empty where none is known."""
    timers = [callback for callback in trainer.callbacks if isinstance(callback, Timer)]  # type: ignore[attr-defined]
    return f"trainer.max_time={timedelta(seconds=timers[0]._duration)}: " if timers and timers[0]._duration else ""
