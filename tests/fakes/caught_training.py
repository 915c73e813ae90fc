"""A step that trains nothing: its inputs are given, and its module is caught before it learns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rlaif.data.base import TaskData
from rlaif.pipeline.stage import Input, Work
from rlaif.types import Prompt


class CaughtTraining:
    """Keeps the module and its data in place of training it."""

    is_global_zero = True
    world_size = 1

    def fit(self, module: Any, data: Any = None, **options: Any) -> CaughtTraining:
        """Keep the module and its data; returns itself as the trainer."""
        self.module, self.data = module, data
        return self

    def save(self, *args: Any, **options: Any) -> None:
        """Write nothing, and keep how it would be written."""
        self.saved = options


def work_in(
    directory: Path, models: Mapping[str, Path], prompts: Sequence[Prompt], *, training: Any = None, seed: int = 3
) -> Work:
    """The work of a step whose inputs are there.

    Args:
        directory: Of its result; made when missing.
        models: Role to the folder of its model.
        prompts: Of the policy.
        training: Takes the place of the machine's trainer.
        seed: Of the step.
    """
    directory.mkdir(exist_ok=True)
    data = TaskData(demonstrations=[], label_prompts=[], policy_prompts=list(prompts), eval_prompts=[])
    inputs = {role: (Input(step=role, stage="", path=folder),) for role, folder in models.items()}
    inputs["prompts"] = (Input(step="data", stage="data", data=data),)
    return Work(step="step", directory=directory, inputs=inputs, seed=seed, make_training=lambda: training)
