"""Training curves as rows on disk, exact after a resume."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from rlaif.artifacts.curve import append_row, cut_curve

VALIDATED = "validation/"
"""Beginning of the names of a validation's metrics."""


class CurveWriter(Callback):
    """Appends one JSON line of logged metrics after every n-th optimizer step, and after every validation.

    A resumed run first cuts what a killed run wrote after its last checkpoint, so that the file
    of an interrupted training equals that of an uninterrupted one byte for byte.

    Args:
        path: The file, e.g. ``curve.jsonl`` in the stage's directory.
        every_n_steps: Optimizer steps between rows; the last step always has one.
        prefix: Only metrics whose names start so.
    """

    def __init__(self, path: Path, *, every_n_steps: int = 1, prefix: str = "") -> None:
        self.path = Path(path)
        self.every_n_steps = every_n_steps
        self.prefix = prefix
        self._last_step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Drop the rows after the checkpoint that training resumes from."""
        self._last_step = trainer.global_step
        if not trainer.is_global_zero:
            return
        cut_curve(self.path, trainer.global_step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write the metrics of a finished optimizer step."""
        step = trainer.global_step
        if step == self._last_step or not trainer.is_global_zero:
            return
        self._last_step = step
        if step % self.every_n_steps and step != trainer.max_steps:
            return
        # Lightning keeps what an earlier validation logged.
        figures = {name: value for name, value in self._figures(trainer).items() if not name.startswith(VALIDATED)}
        append_row(self.path, step, figures)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the row of the step before a validation again, with the validation's figures."""
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        cut_curve(self.path, trainer.global_step - 1)
        append_row(self.path, trainer.global_step, self._figures(trainer))

    def _figures(self, trainer: Trainer) -> dict[str, float]:
        metrics = trainer.callback_metrics.items()
        figures = {name: float(value) for name, value in metrics if name.startswith(self.prefix)}
        return {name: value for name, value in figures.items() if not _is_absent(name, value)}


def _is_absent(name: str, value: float) -> bool:
    """True for a figure that the step does not have, such as a part of the reward (``policy/reward/NAME``) without a
    response, or a ratio where no response counts; a gradient's norm that is no number is told."""
    return math.isnan(value) and not name.endswith("grad_norm")
