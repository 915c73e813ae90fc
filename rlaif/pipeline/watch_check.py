"""A check of what watches a training: it sees nothing where it is what the training learns from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from rlaif.labelers.base import Labeler
from rlaif.labelers.models import parts_of
from rlaif.pipeline.graph import Step

if TYPE_CHECKING:
    from rlaif.pipeline.plan import Plan


@dataclass(frozen=True, slots=True)
class WatchJudge:
    """A labeler that watches a training."""

    option: str
    """As typed."""
    labeler: Labeler
    is_wanted: bool
    """True where the configuration relies on it; False where it is there for something else, and watches, too."""


@runtime_checkable
class WatchedStage(Protocol):
    """A stage whose training a labeler may watch."""

    @property
    def watch_judge(self) -> WatchJudge | None:
        """None where no labeler watches."""
        ...


def watch_problems(plan: Plan) -> Iterator[str]:
    """Watching labelers that the same training learns from, where the watch is wanted: one line each."""
    yield from (words for judge, words in _blind(plan) if judge.is_wanted)


def watch_notices(plan: Plan) -> Iterator[str]:
    """The others of them."""
    yield from (words for judge, words in _blind(plan) if not judge.is_wanted)


def _blind(plan: Plan) -> Iterator[tuple[WatchJudge, str]]:
    for step in plan.steps:
        judge = step.stage.watch_judge if isinstance(step.stage, WatchedStage) else None
        if judge is None:
            continue
        same = [words for words, identity in _learned_from(step) if identity == judge.labeler.identity]
        if same:
            yield (
                judge,
                f"{judge.option}: is the labeler of {same[0]}, which the policy learns from, so the watch does not see"
                " what it is fooled by; type another in policy.watch.judge, or policy.watch=null",
            )


def _learned_from(step: Step) -> Iterator[tuple[str, object]]:
    """Labelers that a step is rewarded by, or whose labels came before it: where they are, and their identities."""
    for part in parts_of(getattr(step.stage, "reward", None)):
        yield "the reward", getattr(part, "identity", None)
    for source in _all_sources(step):
        for part in parts_of(getattr(source.stage, "labeler", None)):
            yield f"the step {source.name}", getattr(part, "identity", None)


def _all_sources(step: Step) -> Iterator[Step]:
    """Every step whose result a step reads, directly or not; some more than once."""
    for source in step.sources():
        yield source
        yield from _all_sources(source)
