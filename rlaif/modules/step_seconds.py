"""Where the time of reinforcement learning goes: into sampling, rewarding, learning and validating."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

SECONDS = "seconds.json"
"""The file in the step's directory."""
PARTS = ("sample", "reward", "learn", "validate")
"""Drawing the responses of a policy step, their rewards (with direct RLAIF the judge), the rest of the step (log-probs,
credit, gradients and the optimizer), and the validations between steps."""


class StepSeconds:
    """Adds up the seconds of the parts of policy steps; a part inside another counts for itself alone."""

    def __init__(self) -> None:
        self.by_part = dict.fromkeys(PARTS, 0.0)
        self._running: list[str] = []
        self._since = 0.0

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Count the block for one of :data:`PARTS`."""
        if part not in self.by_part:
            raise KeyError(f"{part}: there are {', '.join(PARTS)}")
        self._count()
        self._running.append(part)
        try:
            yield
        finally:
            self._count()
            self._running.pop()

    def _count(self) -> None:
        """Give the seconds since the last change to the part that ran."""
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            torch.cuda.synchronize()  # a GPU works on after its calls return
        now = perf_counter()
        if self._running:
            self.by_part[self._running[-1]] += now - self._since
        self._since = now


class SecondsWriter(Callback):
    """Writes the seconds of the parts when a training ends; a resumed training goes on from those of its checkpoint.

    Args:
        path: The file, in the step's directory.
        seconds: What the module counts.
    """

    def __init__(self, path: Path, seconds: StepSeconds) -> None:
        self.path = path
        self.seconds = seconds

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the file."""
        if trainer.is_global_zero:
            rounded = {part: round(seconds, 3) for part, seconds in self.seconds.by_part.items()}
            self.path.write_text(json.dumps(rounded) + "\n", encoding="utf-8")

    def state_dict(self) -> dict[str, Any]:
        """The seconds so far."""
        return dict(self.seconds.by_part)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the seconds of a checkpoint."""
        self.seconds.by_part.update(state_dict)


def read_seconds(directory: Path) -> Mapping[str, float]:
    """Seconds by part of a finished training; empty where none were written."""
    file = directory / SECONDS
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}
