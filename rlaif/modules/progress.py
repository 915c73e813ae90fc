"""What a person sees while something trains: steps, time left, the figures that matter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as TimeLeftColumn


def make_progress(console: Console | None = None) -> Progress:
    """A bar with description, steps, time taken, time left and a free text."""
    return Progress(
        TextColumn("{task.description:<14}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeLeftColumn(),
        TextColumn("{task.fields[figures]}"),
        console=console,
        refresh_per_second=4,
    )


class TrainingProgress(Callback):
    """One bar over all optimizer steps; rich draws it from its own thread, four times a second.

    Args:
        description: Name of the stage.
        figures: Logged metrics shown behind the bar, e.g. ``("policy/reward",)``.
        every_n_steps: How often the shown figures are read (reading waits for a GPU).
        console: Where to draw; None is rich's default console.
    """

    def __init__(
        self,
        description: str,
        *,
        figures: Sequence[str] = (),
        every_n_steps: int = 5,
        console: Console | None = None,
    ) -> None:
        self.description = description
        self.figures = tuple(figures)
        self.every_n_steps = every_n_steps
        self.console = console
        self._progress: Progress | None = None
        self._task = TaskID(0)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        self._progress = make_progress(self.console)
        self._task = self._progress.add_task(
            self.description, total=trainer.max_steps, completed=trainer.global_step, figures=""
        )
        self._progress.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._progress is None:
            return
        step = trainer.global_step
        if step % self.every_n_steps == 0 or step == trainer.max_steps:
            self._progress.update(self._task, completed=step, figures=self._figures(trainer))
        else:
            self._progress.update(self._task, completed=step)

    def _figures(self, trainer: Trainer) -> str:
        values = trainer.callback_metrics
        return "  ".join(f"{name.split('/')[-1]} {values[name]:.3g}" for name in self.figures if name in values)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
