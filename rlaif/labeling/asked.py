"""Labelers and raters that an :class:`~rlaif.labeling.asking.Asking` asks: within its budget, through its cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from rlaif.labelers.base import Labeler, Rater
from rlaif.labeling.label_run import rate_batch
from rlaif.naming import named_as
from rlaif.types import Comparison, Completion, Preference, Prompt, Rating

if TYPE_CHECKING:
    from rlaif.labeling.asking import Asking


class ShowsProgress(Protocol):
    """A display of how far something is."""

    def progress(self, total: int | None, *, unit: str = "") -> Callable[[int, int], None]:
        """Begin to count; the result is called with (done, all)."""
        ...


class AskedLabeler:
    """A labeler whose calls are labeled in batches by an :class:`Asking`; made by :meth:`Asking.judge`.

    Args:
        asking: Labels.
        labeler: The labeler that is asked.
        display: Shows how far each call is.
    """

    engines: tuple[str, ...] = ()
    members = ("labeler",)

    def __init__(self, asking: Asking, labeler: Labeler, display: ShowsProgress) -> None:
        self.labeler = labeler
        self.name = labeler.name
        self.source = labeler.source
        self._asking = asking
        self._display = display

    @property
    def identity(self) -> str:
        """The labeler's own."""
        return self.labeler.identity

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        """One label per comparison, in order.

        Raises:
            GateStopped: As :meth:`Asking.label`.
        """
        progress = self._display.progress(len(comparisons), unit="pairs")
        labels: list[Preference] = []
        for batch in self._asking.batches(self.labeler, comparisons):
            labels += batch
            progress(len(labels), len(comparisons))
        return labels


class AskedRater:
    """A rater that is asked within the budget of an :class:`Asking`; made by :meth:`Asking.rater`.

    Args:
        asking: Keeps the answers and the ledger.
        rater: The rater that is asked.
    """

    engines: tuple[str, ...] = ()
    members = ("rater",)

    def __init__(self, asking: Asking, rater: Rater) -> None:
        self.rater = rater
        self.name = rater.name
        self.source = rater.source
        self._asking = asking

    @property
    def identity(self) -> str:
        """The rater's own."""
        return self.rater.identity

    def rate(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Rating]:
        """One rating per response, in order.

        Raises:
            GateStopped: The budget is spent.
            PluginError: The rater breaks its contract.
        """
        with named_as(self._asking.option):
            self._asking.check_budget()
            return rate_batch(self.rater, prompts, completions)
