"""The Lightning trainer that every stage uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningDataModule, LightningModule, Trainer

from rlaif.modules.checkpointing import AtomicCheckpointIO, PeriodicCheckpoint, resume_checkpoint
from rlaif.modules.notices import quiet_lightning


def build_trainer(
    trainer_factory: Callable[..., Trainer],
    *,
    directory: Path,
    max_steps: int,
    callbacks: Sequence[Callback] = (),
    logger: Any = False,
    max_grad_norm: float | None = None,
    accumulate_grad_batches: int = 1,
    **options: Any,
) -> Trainer:
    """A trainer that writes into given directories only, checkpoints atomically, and prints nothing.

    Args:
        trainer_factory: The group ``trainer``: a partial of ``lightning.Trainer`` with the hardware options.
        directory: Working directory of the stage.
        max_steps: Optimizer steps of the whole training.
        callbacks: Progress, curves, checkpoints; checkpoints come last, so that a curve's row is on disk before
            the checkpoint that counts on it.
        logger: Lightning loggers, or False.
        max_grad_norm: Gradients are scaled down to this norm; None leaves them.
        accumulate_grad_batches: Minibatches per optimizer step.
        options: Anything else that ``lightning.Trainer`` takes.
    """
    quiet_lightning()
    return trainer_factory(
        default_root_dir=directory,
        max_steps=max_steps,
        max_epochs=-1,
        callbacks=sorted(callbacks, key=lambda callback: isinstance(callback, PeriodicCheckpoint)),
        logger=logger,
        gradient_clip_val=max_grad_norm,
        accumulate_grad_batches=accumulate_grad_batches,
        plugins=[AtomicCheckpointIO()],
        enable_checkpointing=False,
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
    """
    savers = [callback for callback in trainer.callbacks if isinstance(callback, PeriodicCheckpoint)]  # type: ignore[attr-defined]
    found = resume_checkpoint(savers[0].directory) if savers else None
    resumed_step = 0 if found is None else int(found.stem.removeprefix("step="))
    with seeded(seed):
        trainer.fit(module, datamodule=datamodule, ckpt_path=found, weights_only=True)
    return resumed_step
