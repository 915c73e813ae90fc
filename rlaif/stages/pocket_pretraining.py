"""``experiment=pocket_pretraining``: make the pocket models from nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from filelock import FileLock

from rlaif.artifacts.fingerprints import code_digest, fingerprint
from rlaif.artifacts.store import link
from rlaif.pipeline.stage import Stage, Told, Work
from rlaif.pocket.pretraining import RECIPES, pretrain
from rlaif.runtime import Runtime


class PocketPretrainingStage(Stage):
    """Trains models of the recipe, or goes on where a killed run stopped; the run directory links to the result.

    The models are in ``store.dir``/pocket-HASH, apart from the store's results: another recipe or another world is
    another directory.

    Args:
        models: Names of the models, e.g. ``[XS]``.
        store: Directory of the store.
        accelerator: ``cpu`` or ``gpu``.
    """

    stored = False
    shows = True

    def __init__(self, models: Sequence[str], store: Runtime[str], accelerator: Runtime[str] = "cpu") -> None:
        self.models = models
        self.store = Path(store).absolute()
        self.device = "cuda" if accelerator in ("gpu", "cuda") else "cpu"

    def problems(self, work: Work) -> Iterator[str]:
        """Names of models that the recipe does not hold."""
        if isinstance(self.models, str) or not set(self.models) <= set(RECIPES):
            yield f"pretraining.models={self.models}: must be a list such as [XS] of {', '.join(RECIPES)}"

    def load(self, work: Work) -> Path:
        """Train the models one after the other; returns their directory."""
        recipes = {name: asdict(recipe) for name, recipe in RECIPES.items()}
        root = self.store / f"pocket-{fingerprint('pocket', recipes, [], [code_digest(['rlaif.pocket.pretraining'])])}"
        for name in self.models:
            report = work.progress(RECIPES[name].num_steps, unit=f"steps of {name}")
            with _lock(self.store, f"{root.name}-{name}"):
                pretrain(name, root, device=self.device, report=partial(_show, report, RECIPES[name].num_steps))
        link(work.directory, "pocket", root)
        return root

    def told(self, work: Work) -> Told:
        """The directory of the models."""
        return Told(line=f"copy {work.result}/* to rlaif/pocket/weights to use them")


def _show(report: Callable[[int, int], None], num_steps: int, step: int) -> None:
    report(step, num_steps)


def _lock(store: Path, name: str) -> FileLock:
    """Two runs do not train one model at once: the second waits and finds it finished."""
    locks = store / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    return FileLock(locks / f"{name}.lock")
