"""Training curves as rows on disk, exact after a resume."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from rlaif.artifacts.curve import append_row, cut_curve


class CurveWriter(Callback):
    """Appends one JSON line of logged metrics after every n-th optimizer step.

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
        metrics = {name: value for name, value in trainer.callback_metrics.items() if name.startswith(self.prefix)}
        figures = {name: float(value) for name, value in metrics.items()}
        append_row(self.path, step, {name: figures[name] for name in figures if not _is_absent(name, figures[name])})


def _is_absent(name: str, value: float) -> bool:
    """True for a part of a figure (``policy/reward/NAME``) that no response of the step has."""
    return name.count("/") > 1 and math.isnan(value)
