"""Who judges: comparisons in, soft labels out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rlaif.types import Comparison, Preference


class Labeler(Protocol):
    """Gives soft preferences. Registered in the group ``rlaif.labelers``."""

    name: str
    source: str
    """Who stands behind the labels: ``ai``, ``human``, ``simulated annotators``, …"""

    @property
    def identity(self) -> str:
        """Content hash of everything a label depends on besides the comparison."""
        ...

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        """Judge every comparison; one that fails is missing with its reason, never guessed."""
        ...
