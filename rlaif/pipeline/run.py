"""One run: the steps of its pipeline in order, each built once, and their reports."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from rlaif.artifacts import atomic_write, link
from rlaif.artifacts.commit import package_commit
from rlaif.config.run_directory import CONFIG, Job, claim, in_use, store_directory
from rlaif.engines.spending import Spending
from rlaif.errors import ConfigError
from rlaif.labeling.asking import one_budget
from rlaif.labeling.first_request import FirstRequests
from rlaif.modules.notices import quiet_lightning, quiet_transformers
from rlaif.pipeline.answered_prompts import answered_prompts_notices
from rlaif.pipeline.devices import machine_problems
from rlaif.pipeline.graph import Step
from rlaif.pipeline.label_check import label_problems
from rlaif.pipeline.loggers import logger_problems
from rlaif.pipeline.model_check import model_check
from rlaif.pipeline.pages import show_page, typed_command
from rlaif.pipeline.plan import Plan
from rlaif.pipeline.stage import Estimates, Stage, Told
from rlaif.pipeline.watch_check import watch_notices, watch_problems
from rlaif.pipeline.workers import build_in_workers, is_worker
from rlaif.reporting.label_estimate import print_estimate
from rlaif.reporting.terminal import RunDisplay, StageDisplay


def run(cfg: DictConfig) -> float | None:
    """Run a pipeline.

    Args:
        cfg: The composed configuration.

    Returns:
        For optimizing sweepers, the last objective of a step: the policy's win rate against SFT, or the
        labeler's alignment, in [0, 1]; None where no step has one.

    Raises:
        ConfigError: The configuration cannot work.
        GateStopped: A limit stopped the run; starting it again goes on.
    """
    quiet_lightning()
    directory = Path(HydraConfig.get().runtime.output_dir)
    config_yaml = OmegaConf.to_yaml(cfg, resolve=True)
    job = Job(directory=directory, config_yaml=config_yaml, store=store_directory(cfg))
    with in_use(job):
        return _run(cfg, job)


def _run(cfg: DictConfig, job: Job) -> float | None:
    directory = job.directory
    claim(job, overwrite=cfg.overwrite, keep=(".hydra", f"{HydraConfig.get().job.name}.log"))
    atomic_write(directory / CONFIG, job.config_yaml)
    display = RunDisplay()
    display.header(typed_command(), _short(directory))
    problems: list[str] = []
    plan = Plan(cfg, directory, problems)
    if plan.needs_models:
        make_deterministic()
    load_early(plan, display)
    check(plan, problems)
    of_steps = (notice for step in plan.steps for notice in step.stage.notices(plan.work(step)))
    for notice in (*of_steps, *watch_notices(plan), *answered_prompts_notices(plan)):
        display.console.print(notice, style="dim", highlight=False, markup=False, soft_wrap=True)
    if cfg.estimate:
        estimate(plan, display)
        return None
    send_first_requests(plan)
    with one_budget():
        return Run(plan, display).all_steps()


def make_deterministic() -> None:
    """Make torch compute the same bits each time; it loads its compiler's settings for that, which takes a second."""
    torch.use_deterministic_algorithms(True, warn_only=True)


def load_early(plan: Plan, display: RunDisplay) -> None:
    """Load what is kept in memory and reads nothing: the data, which the checks look at."""
    for step in plan.early():
        with display.stage(step.name) as line:
            plan.memory[step.name] = step.stage.load(plan.work(step, display=line))
            told = step.stage.told(plan.work(step))
            plan.progress.told[step.name] = told
            line.note(told.line)
        display.notes(told.notes)


def check(plan: Plan, problems: Sequence[str] = ()) -> None:
    """Find what could not work before anything is trained or labeled.

    Args:
        plan: The run, with its early results loaded.
        problems: What was wrong when it was made.

    Raises:
        ConfigError: With every problem of every step.
        PluginError: A component's identity cannot be computed, or is another each time.
    """
    found = list(problems)
    for step in plan.steps:
        if all(step.inputs.get(role) for role, reads in step.reads.items() if not reads.optional):
            found += plan.stage_to_check(step).problems(plan.work(step))
    found += [*model_check(plan), *watch_problems(plan)]
    found = found or list(label_problems(plan))
    if found:
        raise ConfigError(list(dict.fromkeys(found)))
    for step in plan.steps:
        if step.stage.stored:
            plan.fingerprint(step)  # a component whose identity fails must not stop the run after SFT
    training = [step.name for step in plan.steps if step.stage.trains and plan.path(step) is None]
    if training and (lacking := [*machine_problems(plan.cfg), *logger_problems(plan.cfg, training[0])]):
        raise ConfigError(lacking)


def send_first_requests(plan: Plan) -> None:
    """Ask each server one request of each form that steps which are not finished will ask.

    Raises:
        ConfigError: A server refuses such requests.
        GateStopped: A server cannot be reached.
    """
    requests = FirstRequests()
    for step in plan.steps:
        if not step.stage.stored or plan.path(step) is not None:
            continue
        for asks in plan.stage_to_check(step).asks(plan.work(step)):
            if (spent := requests.send(asks)).num_questions:
                plan.progress.tried[step.name] = plan.progress.tried.get(step.name, Spending()) + spent


def estimate(plan: Plan, display: RunDisplay) -> None:
    """Print what the steps that can be estimated would take; nothing is spent.

    Raises:
        ConfigError: No step of this pipeline can be estimated.
    """
    steps = [step for step in plan.steps if isinstance(step.stage, Estimates)]
    if not steps:
        raise ConfigError("estimate=true: this pipeline labels no plan of pairs; take pipeline=label or pipeline=rlaif")
    for step in steps:
        stage, stand_ins = plan.stage_to_estimate(step)
        assert isinstance(stage, Estimates)
        work = replace(plan.work(step), stand_ins=stand_ins, is_finished=plan.path(step) is not None)
        print_estimate(stage.estimate(work), stage.prices, display.console)


class Run:
    """The steps of a plan, run one after the other.

    Args:
        plan: The steps.
        display: Shows them.
    """

    def __init__(self, plan: Plan, display: RunDisplay) -> None:
        self.plan = plan
        self.display = display

    def all_steps(self) -> float | None:
        """Run every step; returns the last objective of a step."""
        early = set(map(id, self.plan.early()))
        objective: float | None = None
        for step in self.plan.steps:
            if id(step) in early:
                continue
            told = self._stored(step) if step.stage.stored else self._in_memory(step)
            if told.objective is not None:
                objective = told.objective
        return objective

    def _stored(self, step: Step) -> Told:
        """Build a step unless the store has it, hold it against this run's limits, and show it."""
        stage, fingerprint, plan = self.plan.stage_to_build(step), self.plan.fingerprint(step), self.plan
        with self.display.stage(step.name) as line:
            reused = plan.path(step) is not None
            path = plan.store.build(
                step.entry.stage,
                fingerprint,
                self._builder(step, stage, line),
                meta={"commit": package_commit()},
                on_wait=line.note,
            )
            work = plan.work(step, path)
            told = stage.told(work)
            if told.link:
                link(plan.run_directory, told.link, path)
            if reused:
                line.reused(told.line)
            else:
                line.note(told.line)
            plan.progress.seconds[step.name] = 0.0 if reused else _seconds(path)
            plan.progress.told[step.name] = told
        if told.page:
            show_page(plan, step, told, self.display)
        else:
            self.display.notes(told.notes)
        for table in told.tables:
            self.display.table(table)
        stage.accept(work)
        return told

    def _in_memory(self, step: Step) -> Told:
        """Run a step that is not stored."""
        plan = self.plan
        if type(step.stage).load is not Stage.load:
            with self.display.stage(step.name) as line:
                plan.memory[step.name] = step.stage.load(plan.work(step, plan.run_directory, line))
                line.note(step.stage.told(plan.work(step)).line)
        told = plan.progress.told[step.name] = step.stage.told(plan.work(step))
        if told.page:
            show_page(plan, step, told, self.display)
        elif type(step.stage).load is Stage.load and told.line:
            with self.display.stage(step.name) as line:
                line.note(told.line)
            self.display.notes(told.notes)
        return told

    def _builder(self, step: Step, stage: Stage, line: StageDisplay) -> Callable[[Path], Mapping[str, object]]:
        """The function that fills the step's directory, in this process or in several."""
        plan = self.plan

        def build(directory: Path) -> Mapping[str, object]:
            quiet_transformers()
            work = plan.work(step, directory, line)
            parts = stage.parts
            is_shared = stage.trains or (parts is not None and parts.wanted(work))
            if work.num_processes == 1 or is_worker() or not is_shared:
                stage.build(work)
                return stage.meta(work)
            if parts is not None:
                parts.begin(directory)
            build_in_workers(plan.cfg, step.name, directory, line)
            if parts is not None:
                parts.gather(work)
            return stage.meta(work)

        return build


def _seconds(path: Path) -> float:
    return float(json.loads((path / "meta.json").read_text())["seconds"])


def _short(directory: Path) -> str:
    """Relative to where the command was typed, when it lies below it."""
    return os.path.relpath(directory) if directory.is_relative_to(Path.cwd()) else str(directory)
