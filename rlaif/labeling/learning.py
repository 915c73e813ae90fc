"""Prepares a labeler for a plan: it gets the whole plan, and learns from people's labels."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from filelock import FileLock

from rlaif.artifacts import atomic_write
from rlaif.labelers.base import Labeler, LearnsFromPeople, PlansAhead
from rlaif.labelers.models import parts_of
from rlaif.labelers.people import AsksPeople, HumanLabeler, People
from rlaif.types import Comparison

LEARNED = "learned.json"


def prepare(
    labeler: Labeler,
    comparisons: Sequence[Comparison],
    people: People,
    directory: Path,
    before_asking: Callable[[], None] | None = None,
) -> Labeler:
    """Show a labeler the whole plan, and teach it with people's labels of some of its pairs where it wants that.

    Args:
        labeler: The labeler to prepare.
        comparisons: The whole plan.
        people: Label the pairs that it learns from.
        directory: Where what it learns is kept: it learns once, and all processes and later starts reuse it.
        before_asking: Called before it asks its members about the pairs that it learns from; raises to stop.

    Returns:
        The labeler of the plan.
    """
    if isinstance(labeler, PlansAhead):
        labeler = labeler.for_plan(comparisons)
    if not isinstance(labeler, LearnsFromPeople) or not labeler.learns:
        return labeler
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / LEARNED
    with FileLock(f"{file}.lock"):
        if file.exists():
            return labeler.restore(json.loads(file.read_text()))
        if before_asking is not None:
            before_asking()
        known = HumanLabeler().bind(people).label(comparisons[: labeler.num_known])
        taught = labeler.fit(known)
        atomic_write(file, json.dumps(taught.learned))
        return cast(Labeler, taught)


def depends_on_people(labeler: object) -> bool:
    """True when a labeler's labels depend on people's: a part of it asks people, or learns from them."""
    return any(isinstance(part, AsksPeople) or _learns(part) for part in parts_of(labeler))


def _learns(part: object) -> bool:
    return isinstance(part, LearnsFromPeople) and part.learns
