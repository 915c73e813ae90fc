"""The pages of a run: a step's report, with the run's command, configuration and fingerprints."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import OmegaConf

from rlaif.evaluation.records import CrossTable
from rlaif.pipeline.graph import Step
from rlaif.pipeline.plan import Plan
from rlaif.pipeline.stage import Told
from rlaif.reporting.page import write_page
from rlaif.reporting.page_content import Page, RunInfo, environment
from rlaif.reporting.terminal import RunDisplay, cross_table


def show_page(plan: Plan, step: Step, told: Told, display: RunDisplay) -> None:
    """Write a step's page into the run directory, and show its figures on the terminal.

    Args:
        plan: The run.
        step: Whose page it is.
        told: What it tells.
        display: Shows figures, failed checks and the path of the page.
    """
    task = str(instantiate(plan.cfg.task).name)
    confidence = float(OmegaConf.select(plan.cfg, "evaluation.confidence", default=0.95))
    page = Page(
        kind=told.page,
        title=f"{told.title or step.name} → {task.replace('_', ' ')}",
        task=task,
        verdict=told.verdict,
        figures=told.figures,
        checks=told.checks,
        sections=told.sections,
        notes=(*told.notes, *_notes_of_steps(plan)),
        run=run_info(plan, step),
        confidence=confidence,
    )
    path = write_page(page, plan.run_directory)
    if not step.entry.if_needed:
        console = display.console
        for section in told.sections:
            if isinstance(section, CrossTable):
                console.print()
                console.print(cross_table(section, told.checks, width=console.width))
        for note in told.notes:
            console.print(note, style="dim", highlight=False, markup=False)
        shown = told.figures if told.shown is None else told.shown
        display.summary(shown, told.checks, path, confidence=confidence)


def _notes_of_steps(plan: Plan) -> Iterator[str]:
    """What the steps without a page of their own told beside their figures, each sentence with its first step."""
    first: dict[str, str] = {}
    for name, told in plan.progress.told.items():
        for note in () if told.page else told.notes:
            first.setdefault(note, name)
    yield from (f"{name.replace('_', ' ')}: {note}" for note, name in first.items())


def typed_command() -> str:
    """The command of this process, quoted as a shell takes it."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def run_info(plan: Plan, step: Step) -> RunInfo:
    """The command, provenance, configuration and times of a run, for a page."""
    about = plan.steps if not step.stage.stored else [step]
    stages = {f"stage {other.name}": plan.fingerprint(other) for other in about if other.stage.stored}
    return RunInfo(
        command=typed_command(),
        provenance={**stages, **environment()},
        config=OmegaConf.to_yaml(plan.cfg, resolve=True),
        stage_seconds=plan.progress.seconds,
    )
