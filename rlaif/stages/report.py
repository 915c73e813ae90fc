"""The page of a run: figures of its evaluation, and what every step has to show."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

from rlaif.evaluation.responses import time_figures
from rlaif.evaluation.win_rate import policy_verdict
from rlaif.pipeline.stage import Stage, Told, Work
from rlaif.ranges import OpenShare
from rlaif.roles import Reads
from rlaif.tasks.base import Task


class ReportStage(Stage):
    """Collects figures, checks and sections of the steps before it, every time; it leaves nothing in the store.

    Args:
        task: What the page is about.
        confidence: Coverage of every interval, in (0, 1).
    """

    stored = False
    shows = True

    def __init__(self, task: Task, confidence: OpenShare = 0.95) -> None:
        self.task = task
        self.confidence = confidence

    def reads(self) -> Mapping[str, Reads]:
        """The figures of all steps before it that leave any."""
        return {"figures": Reads(kind="figures", many=True)}

    def told(self, work: Work) -> Told:
        """The page ``report``; of figures and checks of one name, those of the last step that tells them."""
        measured = [work.told[source.step] for source in work.inputs["figures"]]
        figures = {figure.name: figure for told in measured for figure in told.figures}
        checks = {(check.name, check.figure): check for told in measured for check in told.checks}
        return Told(
            page="report",
            title=next((told.title for told in work.told.values() if told.title), ""),
            verdict=policy_verdict(list(figures.values()), self.task.name, self.confidence),
            figures=(*figures.values(), *time_figures(work.seconds)),
            checks=tuple(checks.values()),
            sections=tuple(chain.from_iterable(told.sections for told in work.told.values() if not told.page)),
            objective=next((told.objective for told in reversed(measured) if told.objective is not None), None),
        )
