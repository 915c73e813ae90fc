"""People as labelers: who counts as people, their labels of the data, and simulated annotators in their place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from rlaif.data.base import Annotators, TaskData
from rlaif.engines.base import Engine
from rlaif.labelers.models import parts_of
from rlaif.types import Comparison, Preference, content_id

if TYPE_CHECKING:
    from rlaif.labelers.pairwise import PairwisePrompt

HUMAN = "human"
SIMULATED = "simulated annotators"
PEOPLE = (HUMAN, SIMULATED)
"""Sources of labels that are people's: they are what other labels are measured against."""


@dataclass(frozen=True, kw_only=True)
class People:
    """The people of a data set."""

    labels: Sequence[Preference] = ()
    """Labels that came with the data."""
    annotators: Annotators | None = None
    """Simulated people for pairs without a label; None leaves those missing."""
    data_identity: str = field(default="")
    """``DataSource.identity`` of where both come from."""

    @classmethod
    def of(cls, data: TaskData, identity: str) -> People:
        """The people of loaded data.

        Args:
            data: What was loaded.
            identity: ``DataSource.identity`` of its source.
        """
        return cls(labels=data.preferences, annotators=data.annotators, data_identity=identity)


@runtime_checkable
class AsksPeople(Protocol):
    """A labeler whose labels are people's: it is bound to the data's people before it labels."""

    rater: int
    """Index of the simulated annotator, from 0."""

    def bind(self, people: People) -> object:
        """Answer from these people's labels."""
        ...


class HumanLabeler:
    """The people's own labels: canonical RLHF.

    A pair that came with a label keeps it. For any other pair a simulated annotator answers where the data has
    them (the pocket world); else the label is missing.

    Args:
        rater: Which simulated annotator answers; without effect where the data has labels of people only.
        prompt: Accepted from a composed configuration and not used: people are not prompted here.
        engine: Likewise.
    """

    name = "human"

    def __init__(self, rater: int = 0, *, prompt: PairwisePrompt | None = None, engine: Engine | None = None) -> None:
        self.rater = rater
        self.prompt = prompt
        self.engine = engine
        self._known: dict[str, Preference] = {}
        self._annotators: Annotators | None = None
        self._bound_to = ""

    def bind(self, people: People) -> HumanLabeler:
        """Answer from people's labels, either order of a pair finds its label, and else from simulated annotators.

        Args:
            people: Labels and annotators of the data; their identity becomes part of this labeler's own.

        Returns:
            This labeler.
        """
        self._known = {preference.comparison.id: preference for preference in people.labels}
        self._annotators = people.annotators
        answers = (f"{key}={preference.p_first!r}" for key, preference in sorted(self._known.items()))
        self._bound_to = content_id(people.data_identity, *answers)
        return self

    @property
    def source(self) -> str:
        """``human`` for labels of the data, ``simulated annotators`` in the pocket world."""
        return HUMAN if self._annotators is None else SIMULATED

    @property
    def identity(self) -> str:
        """Content hash of everything that a label depends on besides the pair."""
        return content_id("HumanLabeler", str(self.rater), self.source, self._bound_to)

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        """The people's labels; a pair without a judgement is missing."""
        found = [self._find(comparison) for comparison in comparisons]
        unknown = [comparison for comparison, label in zip(comparisons, found, strict=True) if label is None]
        answers = iter(self._annotators.prefer(unknown, self.rater) if self._annotators is not None else [])
        author = f"{self.name}:{self.identity}"
        return [
            self._asked(comparison, next(answers, None), author) if label is None else label
            for comparison, label in zip(comparisons, found, strict=True)
        ]

    def _find(self, comparison: Comparison) -> Preference | None:
        label = self._known.get(comparison.id)
        if label is not None:
            return replace(label, comparison=comparison)
        swapped = Comparison(prompt=comparison.prompt, first=comparison.second, second=comparison.first)
        label = self._known.get(swapped.id)
        if label is None:
            return None
        p_first = None if label.p_first is None else 1.0 - label.p_first
        return replace(label, comparison=comparison, p_first=p_first)

    def _asked(self, comparison: Comparison, answer: float | None, author: str) -> Preference:
        missing = "no human label for this pair" if answer is None else None
        return Preference(comparison=comparison, p_first=answer, missing=missing, labeler=author, source=self.source)


def bind_people(labeler: object, people: People) -> None:
    """Bind a labeler, and every member that asks people, to the data's people.

    Args:
        labeler: Changed in place.
        people: The people of the data.
    """
    for part in parts_of(labeler):
        if isinstance(part, AsksPeople):
            part.bind(people)


def num_raters_used(labeler: object) -> int:
    """Simulated annotators, counted from rater 0, that take part in a labeler's labels.

    They cannot judge it: those from this number on are free to.
    """
    return max((part.rater + 1 for part in parts_of(labeler) if isinstance(part, AsksPeople)), default=0)


def are_peoples(labels: Iterable[Preference]) -> bool:
    """True when every label was given by people, real or simulated."""
    return all(label.source in PEOPLE for label in labels)


def label_sources(labels: Iterable[Preference]) -> str:
    """The sources of labels that came with the data, in words.

    >>> label_sources([])
    'unnamed labels of the data'
    """
    return f"{' and '.join(sorted({label.source for label in labels if label.source})) or 'unnamed'} labels of the data"


def labeler_in_words(label: Preference) -> str:
    """The name of a label's giver: people's labels name the people, a model's the labeler."""
    return label.labeler or label.source if label.source in ("", "ai") else label.source
