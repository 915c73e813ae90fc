"""A trainer whose optimizer steps are counted by hand: for callbacks that read no more of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any


class CountedTraining:
    """Stands in for ``lightning.Trainer``; a checkpoint is an empty file, and its steps are kept.

    Args:
        max_steps: Optimizer steps of the training.
        rank: This process.
        world_size: Processes; the strategy answers for all of them.
        answer: What the other processes make of a question that one asks all.
    """

    def __init__(
        self,
        *,
        max_steps: int = 1_000,
        rank: int = 0,
        world_size: int = 1,
        answer: Callable[[bool], bool] | None = None,
    ) -> None:
        self.global_step = 0
        self.max_steps = max_steps
        self.is_global_zero = rank == 0
        self.world_size = world_size
        self.should_stop = False
        self.callback_metrics: dict[str, Any] = {}
        self.saved: list[int] = []
        self.lightning_module: object = None
        if answer is not None:
            self.strategy = SimpleNamespace(broadcast=answer, reduce_boolean_decision=self._any(answer))

    def save_checkpoint(self, path: Path) -> None:
        """Make the file of a checkpoint."""
        self.saved.append(self.global_step)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def run(self, callback: Any, steps: list[int], *, module: object = None) -> None:
        """Call a callback at the start of the training, and after each of some optimizer steps."""
        callback.on_train_start(self, module)
        for step in steps:
            self.step(callback, step, module=module)

    def step(self, callback: Any, step: int, *, module: object = None) -> None:
        """Call a callback after an optimizer step."""
        # Numbers above 256 are then other objects than equal ones elsewhere.
        self.global_step = int(str(step))
        callback.on_train_batch_end(self, module, None, None, 0)

    @staticmethod
    def _any(answer: Callable[[bool], bool]) -> Callable[..., bool]:
        def decide(value: bool, all: bool = True) -> bool:
            assert not all, "one process is enough"
            return answer(value)

        return decide
