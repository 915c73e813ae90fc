"""A training that a signal stops: it ends its optimizer step, saves a checkpoint, and goes on at the next start."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from rlaif.modules.checkpointing import PeriodicCheckpoint

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StoppedBySignal(BaseException):
    """Passes through Lightning, which ends the process with code 1 for a ``KeyboardInterrupt``.

    Args:
        signum: The signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class StopOnSignal(Checkpoint):
    """Ends a training after the optimizer step in which Ctrl-C or SIGTERM arrives, with a checkpoint.

    A second signal ends it at once, and so does the first one while responses are drawn and rewarded, where no weight
    has changed since the last step. Several processes stop after the same step.

    Args:
        saver: Makes the checkpoint.
    """

    def __init__(self, saver: PeriodicCheckpoint) -> None:
        self.saver = saver
        self.signum: int | None = None
        self._trainer: Trainer | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over both signals; Lightning gives them back when the training has ended."""
        self._trainer = trainer
        if threading.current_thread() is threading.main_thread():
            for signum in SIGNALS:
                signal.signal(signum, self._received)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save and stop where a signal has arrived, on any process; the last step still gets its validation."""
        if trainer.global_step != trainer.max_steps:
            self._stop_if_told(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save and stop where a signal has arrived in the last step or in the validation after it."""
        self._stop_if_told(trainer)

    def _stop_if_told(self, trainer: Trainer) -> None:
        is_stopping = self.signum is not None
        if trainer.world_size > 1:
            is_stopping = trainer.strategy.reduce_boolean_decision(is_stopping, all=False)
        if is_stopping:
            self._stop(trainer)

    def _received(self, signum: int, frame: FrameType | None) -> None:
        trainer = self._trainer
        assert trainer is not None
        if self.signum is not None:
            raise StoppedBySignal(signum)
        self.signum = signum
        if trainer.world_size == 1 and getattr(trainer.lightning_module, "is_drawing", False):
            self._stop(trainer)

    def _stop(self, trainer: Trainer) -> None:
        if trainer.global_step > 0:
            self.saver.save(trainer)
        raise StoppedBySignal(self.signum or signal.SIGTERM)
