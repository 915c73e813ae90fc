"""Atomic checkpoints, and everything needed to resume from one bit for bit."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import time
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint

from rlaif.artifacts.store import FULL_BELOW_BYTES

logger = logging.getLogger(__name__)

_NAME = re.compile(r"step=(\d{9})\.ckpt")


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints atomically: into a temporary file, flushed to disk, then renamed."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write a checkpoint to a temporary file, flush it, and rename it."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            with unfinished.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, path)
        except RuntimeError as error:  # torch's own for a full disk, which is not full once the file is removed
            if shutil.disk_usage(path.parent).free < FULL_BELOW_BYTES:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(unfinished)) from error
            raise
        finally:
            unfinished.unlink(missing_ok=True)
        _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    """Make a rename in this directory survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def checkpoint_path(directory: Path, step: int) -> Path:
    """Path of the checkpoint after ``step`` optimizer steps.

    >>> checkpoint_path(Path("run"), 40).as_posix()
    'run/step=000000040.ckpt'
    """
    return directory / f"step={step:09d}.ckpt"


def list_checkpoints(directory: Path) -> list[Path]:
    """Checkpoints in a directory, oldest first; files with other names are not ours."""
    if not directory.is_dir():
        return []
    return sorted(path for path in directory.iterdir() if _NAME.fullmatch(path.name))


def resume_checkpoint(directory: Path) -> Path | None:
    """The newest whole checkpoint in a directory, None to start at step 0.

    A file that a disk damaged after it was written (its zip directory at the end is gone) is passed
    over with a warning; half-written files never carry a checkpoint's name.
    """
    for path in reversed(list_checkpoints(directory)):
        if zipfile.is_zipfile(path):
            return path
        logger.warning("%s is damaged; going on from the checkpoint before it", path)
    return None


class PeriodicCheckpoint(Checkpoint):
    """Saves everything a resumed run needs, after optimizer steps, and keeps the last two.

    Besides what Lightning saves (weights, optimizer, scheduler, loop and loader positions) it carries
    torch's global random states of every process, for models with dropout. Nothing is saved after the last
    step: a run killed between that and the stage's end repeats some steps, and with them the validation at
    the end.

    Args:
        directory: Where ``step=….ckpt`` files go.
        every_n_steps: Save after every n-th optimizer step; None leaves it to the clock.
        every_s: Save when this many seconds have passed since the last save; None leaves it to the steps.
            When to save never changes what is computed.
        keep: Number of newest checkpoints kept.
    """

    def __init__(
        self, directory: Path, *, every_n_steps: int | None = None, every_s: float | None = 20.0, keep: int = 2
    ) -> None:
        self.directory = Path(directory)
        self.every_n_steps = every_n_steps
        self.every_s = every_s
        self.keep = keep
        self._last_step = 0
        self._last_time = time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._last_step = trainer.global_step
        self._last_time = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save a checkpoint where the interval has passed."""
        step = trainer.global_step
        if step != trainer.max_steps and self._due(trainer, step):
            self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Save a checkpoint of the optimizer step that has just ended, unless it is already there."""
        step = trainer.global_step
        if step == self._last_step:
            return
        trainer.save_checkpoint(checkpoint_path(self.directory, step))
        self._last_step = step
        self._last_time = time.monotonic()
        if trainer.is_global_zero:
            for path in list_checkpoints(self.directory)[: -self.keep]:
                path.unlink()

    def _due(self, trainer: Trainer, step: int) -> bool:
        if trainer.should_stop:  # trainer.max_time has passed
            return True
        due = self.every_n_steps is not None and step // self.every_n_steps > self._last_step // self.every_n_steps
        if not due and self.every_s is not None:
            due = time.monotonic() - self._last_time >= self.every_s
            if trainer.world_size > 1:  # clocks differ between ranks, saving is collective
                due = trainer.strategy.broadcast(due)
        return due

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of this callback: random states of every process, which all call this together."""
        own = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            own["cuda"] = torch.cuda.get_rng_state()
        states: list[Any] = [own]
        if _is_distributed():
            states = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(states, own)
        return {"random_states": states}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the random states of this process.

        With another number of processes than at the checkpoint, or a checkpoint of a version that kept those of one
        process alone, they are left as they are, with a warning.
        """
        states, rank = state_dict.get("random_states", []), torch.distributed.get_rank() if _is_distributed() else 0
        num_processes = torch.distributed.get_world_size() if _is_distributed() else 1
        if len(states) != num_processes:
            whose = f"of {len(states)} processes" if states else "of an earlier version of rlaif"
            logger.warning("the checkpoint is %s: dropout, if any, is drawn otherwise than without the stop", whose)
            return
        torch.set_rng_state(states[rank]["cpu"].cpu())
        if "cuda" in states[rank] and torch.cuda.is_available():
            torch.cuda.set_rng_state(states[rank]["cuda"].cpu())


def _is_distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
