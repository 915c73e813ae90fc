"""Reports the progress of a training to a progress display."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightning import Callback, LightningModule, Trainer


class TrainingProgress(Callback):
    """Calls back with (steps done, steps in all), on the first process only.

    Args:
        begin: Is called when the training starts; the result shows the steps, e.g. a bar of the terminal display.
        num_updates: Optimizer steps of each step: of a policy step as many as the objective says, else 1.
    """

    def __init__(self, begin: Callable[[], Callable[[int, int], None]], *, num_updates: int = 1) -> None:
        self.begin = begin
        self._report: Callable[[int, int], None] | None = None
        self.num_updates = num_updates

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the step that training starts from."""
        self._report = self.begin()
        self._tell(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Show the number of finished steps."""
        self._tell(trainer)

    def _tell(self, trainer: Trainer) -> None:
        if trainer.is_global_zero and self._report is not None:
            self._report(trainer.global_step // self.num_updates, int(trainer.max_steps) // self.num_updates)
