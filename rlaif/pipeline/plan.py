"""The steps of one run: made from the configuration and bound, with their fingerprints and arguments."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from rlaif.artifacts import Store
from rlaif.config.entries import parse_entries
from rlaif.engines.spending import Spending
from rlaif.functional.seeds import derive_seed
from rlaif.models.load import use_attention
from rlaif.modules.notices import quiet_transformers
from rlaif.pipeline.compose import Composer, construct
from rlaif.pipeline.devices import num_processes
from rlaif.pipeline.graph import Elsewhere, Step, bind
from rlaif.pipeline.identity import directory_digest, step_fingerprint
from rlaif.pipeline.loggers import make_logger
from rlaif.pipeline.stage import Input, Stage, Told, Work
from rlaif.reporting.terminal import StageDisplay
from rlaif.roles import MODEL_KINDS
from rlaif.tasks.base import use_task

if TYPE_CHECKING:
    from rlaif.pipeline.training import LightningTraining


@dataclass(kw_only=True)
class Progress:
    """Reports and times of the steps of a run so far."""

    told: dict[str, Told] = field(default_factory=dict)
    """Report of each finished step."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Seconds that each stored step took in this run; 0 for one that was reused."""
    tried: dict[str, Spending] = field(default_factory=dict)
    """What the first requests for each step cost."""


class Plan:
    """The steps of a run.

    Args:
        cfg: The composed configuration, without the ``hydra`` node.
        run_directory: Where pages and links go.
        problems: Gets what is wrong with the pipeline, instead of an error; the steps are then only fit to be checked.

    Raises:
        ConfigError: With everything that is wrong with the pipeline.
    """

    def __init__(self, cfg: DictConfig, run_directory: Path, problems: list[str] | None = None) -> None:
        self.cfg = cfg
        self.run_directory = run_directory
        self.store = Store(cfg.store.dir)
        self.composer = Composer(cfg)
        use_task(construct(OmegaConf.to_container(cfg.task, resolve=True)))  # type: ignore[arg-type]
        use_attention(str(cfg.model.attn_implementation))
        entries = parse_entries(OmegaConf.to_container(cfg.pipeline.stages, resolve=True))  # type: ignore[arg-type]
        self.steps = bind(entries, self.composer.step, problems)
        self.memory: dict[str, Any] = {}
        """Results of steps that are not stored."""
        self.progress = Progress()
        self._fingerprints: dict[str, str] = {}

    def step(self, name: str) -> Step:
        """The step of that name."""
        return next(step for step in self.steps if step.name == name)

    def early(self) -> Iterator[Step]:
        """Steps that leave data in memory and read nothing: their results are made before anything is checked."""
        return (step for step in self.steps if not step.stage.stored and not step.stage.reads() and step.stage.leaves())

    @cached_property
    def needs_models(self) -> bool:
        """False where no step trains or asks a model: verdicts that were recorded before are measured."""
        return any(step.stage.needs_models for step in self.steps)

    def seed(self, step: Step) -> int:
        """The run's seed for a step that has its stage's name, another for each further step of that stage."""
        seed = int(self.cfg.seed)
        return seed if step.is_added or step.name == step.entry.stage else derive_seed(seed, "step", step.name)

    def stage_to_check(self, step: Step) -> Stage:
        """A stage of its own for checks, which may put scripts in the place of models."""
        return self.composer.arguments[step.name].make()

    def stage_to_build(self, step: Step) -> Stage:
        """The step's stage with directories in place of the steps that its options name."""
        if not step.references:
            return step.stage
        results = {name: path for name in step.references.values() if (path := self.path(self.step(name))) is not None}
        return self.composer.arguments[step.name].make(results)

    def stage_to_estimate(self, step: Step) -> tuple[Stage, dict[str, str]]:
        """A stage for an estimate, and a substitute model for each step that its options name and that has not run."""
        paths = {name: self.path(self.step(name)) for name in step.references.values()}
        stand_ins = {name: str(self.cfg.model.name) for name, path in paths.items() if path is None}
        results = {name: Path(stand_ins[name]) if path is None else path for name, path in paths.items()}
        return self.composer.arguments[step.name].make(results), stand_ins

    def path(self, step: Step) -> Path | None:
        """The directory of a step's finished result; None when it is not finished."""
        return self.store.complete(step.entry.stage, self.fingerprint(step)) if step.stage.stored else None

    def fingerprint(self, step: Step) -> str:
        """Hash of everything that a step's result depends on."""
        if step.name not in self._fingerprints:
            inputs = {
                role: [self._identity(source, step.reads[role].kind) for source in found]
                for role, found in step.inputs.items()
                if step.reads[role].hashed
            }
            self._fingerprints[step.name] = step_fingerprint(
                step.entry.stage,
                self.composer.arguments[step.name],
                seed=self.seed(step),
                inputs=inputs,
                further=step.stage.identity(self.work(step)),
            )
        return self._fingerprints[step.name]

    def _identity(self, source: Step | Elsewhere, kind: str) -> str:
        if isinstance(source, Elsewhere):
            if kind in MODEL_KINDS and not (source.path / "config.json").is_file():
                return ""  # the check of the step tells it
            return directory_digest(source.path)
        if source.stage.stored:
            return self.fingerprint(source)
        return source.stage.content_id(kind, self.memory.get(source.name))

    def work(self, step: Step, directory: Path | None = None, display: StageDisplay | None = None) -> Work:
        """The inputs, directory, seed and display of a step.

        Args:
            step: A step of this plan.
            directory: Directory of its result; None where nothing is built or read.
            display: Shows progress.
        """
        return Work(
            step=step.name,
            directory=directory if directory is not None else self.run_directory,
            inputs={role: tuple(map(self._input, found)) for role, found in step.inputs.items()},
            seed=self.seed(step),
            options=self.composer.arguments[step.name].values,
            store=self.store.root,
            rank=int(os.environ.get("RANK", "0")),
            world_size=int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1,
            num_processes=num_processes(self.cfg),
            needs_models=self.needs_models,
            told=self.progress.told,
            seconds=self.progress.seconds,
            tried=self.progress.tried.get(step.name),
            result=self.memory.get(step.name),
            display=display,
            make_training=None
            if directory is None or display is None
            else partial(self._training, step, directory, display),
        )

    def _input(self, source: Step | Elsewhere) -> Input:
        if isinstance(source, Elsewhere):
            return Input(step=source.name, stage="", path=source.path)
        if not source.stage.stored:
            return Input(step=source.name, stage=source.entry.stage, data=self.memory.get(source.name))
        path = self.path(source)
        most = source.stage.most_demonstrations(self.work(source)) if path is None else None
        return Input(step=source.name, stage=source.entry.stage, path=path, most_demonstrations=most)

    def _training(self, step: Step, directory: Path, display: StageDisplay) -> LightningTraining:
        from rlaif.pipeline.training import (
            LightningTraining,
        )  # Lightning: seconds, and only a step that trains needs it

        quiet_transformers()
        cfg = self.cfg
        return LightningTraining(
            directory=directory,
            display=display,
            trainer=instantiate(cfg.trainer),
            logger=make_logger(cfg, step.name),
            checkpoint_every_s=float(cfg.store.checkpoint_every_s),
            seed=self.seed(step),
            world_size=num_processes(cfg),
        )
