"""`experiment=pocket_pretraining`: make the pocket models from nothing."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from rlaif.evaluation.terminal import Progress, RunDisplay
from rlaif.pocket.pretraining import RECIPES, pretrain


def pretrain_pocket_models(cfg: DictConfig, directory: Path, display: RunDisplay) -> None:
    """Train every size into ``store.dir``/pocket, or go on where a killed run stopped, and link the result."""
    root = Path(cfg.store.dir) / "pocket"
    for size, recipe in RECIPES.items():
        with display.stage(f"pocket {size}") as stage:
            progress = stage.progress(recipe.num_steps, unit="steps")
            folder = pretrain(size, root, report=partial(_report, progress))
            stage.note(str(folder))
    display.console.print(f"copy {root}/* to rlaif/pocket/weights to use them", highlight=False)


def _report(progress: Progress, step: int, num_steps: int, loss: float, tokens_per_s: float) -> None:
    progress(step, num_steps)
