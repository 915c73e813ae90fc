"""Protocols of labelers: comparisons in, soft labels out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from rlaif.types import Comparison, Completion, Preference, Prompt, Rating


class Labeler(Protocol):
    """Gives soft preferences. Registered in the group ``rlaif.labelers``.

    A labeler asks the model in its attribute ``engine``, where it has one. A labeler that keeps its models elsewhere
    declares their attributes as ``engines: tuple[str, ...]``; one that is made of other labelers declares the
    attributes that hold them as ``members: tuple[str, ...]`` (see :mod:`rlaif.labelers.models`).
    """

    name: str
    source: str
    """Source of the labels: ``ai``, ``human``, ``simulated annotators``, …"""

    @property
    def identity(self) -> str:
        """Content hash of everything a label depends on besides the comparison."""
        ...

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        """Judge every comparison; one that fails is missing with its reason, never guessed."""
        ...


@runtime_checkable
class Rater(Protocol):
    """A labeler that also judges single responses: what direct RLAIF is rewarded by."""

    name: str
    source: str

    @property
    def identity(self) -> str:
        """As :attr:`Labeler.identity`."""
        ...

    def rate(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Rating]:
        """Judge every response on its own; one that fails is missing with its reason, never guessed."""
        ...


@runtime_checkable
class Recorded(Protocol):
    """A labeler whose labels exist already: it asks no model, and was asked about some pairs only."""

    def holds(self, comparison: Comparison) -> bool:
        """True where there is a record of the pair, also one without a label."""
        ...


@runtime_checkable
class PlansAhead(Protocol):
    """A labeler whose prompts hold more than one pair of the plan (other pairs' rationales, rankings)."""

    def for_plan(self, comparisons: Sequence[Comparison]) -> Labeler:
        """A copy that knows all pairs of the plan, so that a label never depends on the batch it is judged in."""
        ...


@runtime_checkable
class Reseeded(Protocol):
    """A labeler that draws (sampled rationales): under another seed it may give another label."""

    seed: int

    def with_seed(self, seed: int) -> Labeler:
        """A copy that draws with this seed and asks the same models."""
        ...


@runtime_checkable
class LearnsFromPeople(Protocol):
    """A labeler that first learns from pairs that people labeled (a panel's weights)."""

    num_known: int
    """Pairs it wants."""

    @property
    def learns(self) -> bool:
        """True while it has yet to learn."""
        ...

    @property
    def learned(self) -> Mapping[str, float] | None:
        """The learned state, to be stored; None before :meth:`fit`."""
        ...

    def fit(self, known: Sequence[Preference]) -> LearnsFromPeople:
        """A copy that has learned from people's labels."""
        ...

    def restore(self, learned: Mapping[str, float]) -> Labeler:
        """A copy with a stored learned state, so that a resumed run has the same labeler."""
        ...
