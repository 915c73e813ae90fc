"""The page of a run: figures of its evaluation, and what every step has to show."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

from rlaif.evaluation.responses import time_figures
from rlaif.pipeline.stage import Stage, Told, Work
from rlaif.roles import Reads


class ReportStage(Stage):
    """Collects figures, checks and sections of the steps before it. It runs every time and leaves nothing in the store."""

    stored = False
    shows = True

    def reads(self) -> Mapping[str, Reads]:
        """The figures of the nearest evaluation."""
        return {"figures": Reads(kind="figures")}

    def told(self, work: Work) -> Told:
        """The page ``report``."""
        evaluation = work.told[work.input("figures").step]
        return Told(
            page="report",
            title=next((told.title for told in work.told.values() if told.title), ""),
            figures=(*evaluation.figures, *time_figures(work.seconds)),
            checks=evaluation.checks,
            sections=tuple(chain.from_iterable(told.sections for told in work.told.values() if not told.page)),
            objective=evaluation.objective,
        )
