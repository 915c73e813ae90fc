"""The page of a run: figures of its evaluation, and what every step has to show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain

from rlaif.evaluation.checks import Check
from rlaif.evaluation.records import LabelSamples, Section
from rlaif.evaluation.responses import time_figures
from rlaif.evaluation.win_rate import policy_verdict
from rlaif.pipeline.stage import Stage, Told, Work
from rlaif.ranges import OpenShare
from rlaif.roles import Reads
from rlaif.tasks.base import Task
from rlaif.types import Figure


class ReportStage(Stage):
    """Collects figures, checks and sections of the steps before it that have no page of their own, every time; it
    leaves nothing in the store.

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
        own = {name: told.checks for name, told in work.told.items() if not told.page and told not in measured}
        return Told(
            page="report",
            title=next((told.title for told in work.told.values() if told.title), ""),
            verdict=" ".join([*_verdicts(work), policy_verdict([*figures.values()], self.task.name, self.confidence)]),
            figures=(*figures.values(), *time_figures(work.seconds), *_parts_of_times(work)),
            checks=(*checks.values(), *_named(own)),
            sections=tuple(_sections({name: told.sections for name, told in work.told.items() if not told.page})),
            objective=next((told.objective for told in reversed(measured) if told.objective is not None), None),
        )


def _parts_of_times(work: Work) -> Iterator[Figure]:
    """What the times of the steps of this run consist of, where steps tell it."""
    for name, told in work.told.items():
        if work.seconds.get(name):
            yield from (figure for figure in told.figures if figure.name.startswith(f"time/{name}/"))


def _verdicts(work: Work) -> Iterator[str]:
    """Of steps that say one and have no page of their own, e.g. ``control``."""
    return (told.verdict for told in work.told.values() if told.verdict and not told.page)


def _sections(by_step: Mapping[str, Sequence[Section]]) -> Iterator[Section]:
    """The sections of all steps; those of one title that several steps have, e.g. in rounds, name their step."""
    counts = Counter(chain.from_iterable({_title(section) for section in sections} for sections in by_step.values()))
    for name, sections in by_step.items():
        for section in sections:
            if counts[_title(section)] == 1:
                yield section
            elif isinstance(section, LabelSamples):
                yield replace(section, hint=f"{name}: {section.hint}")
            else:
                yield replace(section, title=f"{section.title}: {name}")


def _named(by_step: Mapping[str, Sequence[Check]]) -> Iterator[Check]:
    """The checks of all steps; those of one name that several steps have, e.g. in rounds, name their step."""
    counts = Counter(check.name for checks in by_step.values() for check in checks)
    for name, checks in by_step.items():
        for check in checks:
            yield check if counts[check.name] == 1 else replace(check, name=f"{name}: {check.name}")


def _title(section: Section) -> str:
    return section.hint if isinstance(section, LabelSamples) else section.title
