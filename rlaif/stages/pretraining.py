"""`experiment=pocket_pretraining`: make the pocket models from nothing."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from rlaif.artifacts.fingerprints import code_digest, fingerprint
from rlaif.artifacts.store import link
from rlaif.errors import ConfigError
from rlaif.evaluation.terminal import Progress, RunDisplay
from rlaif.pocket.pretraining import RECIPES, pretrain


def pretrain_pocket_models(cfg: DictConfig, directory: Path, display: RunDisplay) -> None:
    """Train models of the recipe, or go on where a killed run stopped; the run directory links to the result.

    They lie in ``store.dir``/pocket-HASH: another recipe or another world is another directory.

    Raises:
        ConfigError: ``pretraining.models`` names an unknown one.
    """
    recipes = {name: asdict(recipe) for name, recipe in RECIPES.items()}
    digest = fingerprint("pocket", recipes, [], [code_digest(["rlaif.pocket.pretraining"])])
    root = Path(cfg.store.dir).absolute() / f"pocket-{digest}"
    device = "cuda" if cfg.trainer.accelerator in ("gpu", "cuda") else "cpu"
    for name in cfg.pretraining.models:
        if name not in RECIPES:
            raise ConfigError(f"pretraining.models: {name} is no pocket model; allowed are {', '.join(RECIPES)}")
    for name in cfg.pretraining.models:
        with display.stage(f"pocket {name}") as stage:
            progress = stage.progress(RECIPES[name].num_steps, unit="steps")
            stage.note(str(pretrain(name, root, device=device, report=partial(_report, progress))))
    link(directory, "pocket", root)
    display.console.print(f"copy {root}/* to rlaif/pocket/weights to use them", highlight=False)


def _report(progress: Progress, step: int, num_steps: int, loss: float, tokens_per_s: float) -> None:
    progress(step, num_steps)
