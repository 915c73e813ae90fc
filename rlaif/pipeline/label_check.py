"""A check of labels that are only looked up: where too many are absent, nothing is trained for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from rlaif.data.base import PairSource
from rlaif.data.preferences_io import ROWS_AT_ONCE
from rlaif.labelers.base import Labeler, Recorded
from rlaif.labelers.people import AsksPeople, People
from rlaif.labeling.asking import AskingSettings
from rlaif.labeling.missing import MissingLimit, missing_by_reason
from rlaif.pipeline.stage import Work
from rlaif.types import Preference

if TYPE_CHECKING:
    from rlaif.pipeline.plan import Plan


@runtime_checkable
class LabelingStage(Protocol):
    """A stage that has a labeler judge pairs."""

    labeler: Labeler
    asking: AskingSettings
    pairs_from: PairSource
    """Source of the pairs (``data.pairs``)."""


def label_problems(plan: Plan) -> Iterator[str]:
    """Labels that nobody has given, where a file or people's labels are all that there is: one line for each step."""
    for step in plan.steps:
        stage, work = plan.stage_to_check(step), plan.work(step)
        if isinstance(stage, LabelingStage) and not work.is_finished:
            yield from _problems(stage, work)


def _problems(stage: LabelingStage, work: Work) -> Iterator[str]:
    labeler = stage.labeler
    if isinstance(labeler, AsksPeople) and work.has("people"):
        data = work.data("people")
        if data.annotators is not None:
            return
        labeler.bind(People.of(data, data.content_id("people")))
        if stage.pairs_from != "dataset":
            yield (
                f"labeler={labeler.name}: data.pairs={stage.pairs_from}, and nobody has judged samples of a policy;"
                " type data.pairs=dataset, or take another labeler"
            )
            return
    elif not isinstance(labeler, Recorded):
        return
    if work.ready("pairs") and (source := work.input("pairs").data) is not None:
        yield from _too_few(labeler, source.preferences, MissingLimit(stage.asking.max_missing_rate))


def _too_few(labeler: Labeler, pairs: Sequence[Preference], limit: MissingLimit) -> Iterator[str]:
    missing = Counter[str]()
    for start in range(0, len(pairs), ROWS_AT_ONCE):
        batch = [pair.comparison for pair in pairs[start : start + ROWS_AT_ONCE]]
        missing.update(missing_by_reason(labeler.label(batch)))
    if not limit.allows(missing.total(), len(pairs)):
        in_file = "Prompts and responses must stand in the file as they stand in the data."
        to_do = in_file if isinstance(labeler, Recorded) else "Another labeler can judge these pairs."
        yield str(limit.error(missing, len(pairs), len(pairs), to_do, what="labels"))
