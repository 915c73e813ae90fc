"""`experiment=pocket_pretraining`: make the pocket models from nothing."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from filelock import FileLock
from omegaconf import DictConfig

from rlaif.artifacts.fingerprints import code_digest, fingerprint
from rlaif.artifacts.store import link
from rlaif.errors import ConfigError
from rlaif.pocket.pretraining import RECIPES, pretrain
from rlaif.reporting.terminal import Progress, RunDisplay, StageDisplay


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
    names = cfg.pretraining.models
    if isinstance(names, str) or not set(names) <= set(RECIPES):
        raise ConfigError(f"pretraining.models={names}: must be a list such as [XS] of {', '.join(RECIPES)}")
    for name in names:
        with display.stage(f"pocket {name}") as stage, _lock(Path(cfg.store.dir), f"{root.name}-{name}"):
            stage.note(str(pretrain(name, root, device=device, report=_Report(stage, RECIPES[name].num_steps))))
    link(directory, "pocket", root)
    display.console.print(f"copy {root}/* to rlaif/pocket/weights to use them", highlight=False)


def _lock(store: Path, name: str) -> FileLock:
    """Two runs do not train one model at once: the second waits and finds it finished."""
    locks = store / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    return FileLock(locks / f"{name}.lock")


class _Report:
    """Shows steps; those of an earlier, killed run do not count as this run's speed."""

    def __init__(self, stage: StageDisplay, num_steps: int) -> None:
        self.stage = stage
        self.num_steps = num_steps
        self.progress: Progress | None = None

    def __call__(self, step: int) -> None:
        if self.progress is None:
            self.progress = self.stage.progress(self.num_steps, unit="steps", completed=step)
        self.progress(step, self.num_steps)
