"""Bounds of numbers as metadata of annotations: read from source before a run, enforced again at construction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True, slots=True)
class Bounds:
    """The interval of allowed numbers: ``Annotated[int, Bounds(1)]``.

    >>> Bounds(0, 1).holds(0.5), Bounds(0, 1).holds(2)
    (True, False)
    >>> str(Bounds(0, exclusive_lowest=True)), str(Bounds(0, exclusive_highest=True))
    ('must be above 0', 'must be a finite number of at least 0')
    """

    lowest: float = -math.inf
    highest: float = math.inf
    exclusive_lowest: bool = False
    """True where ``lowest`` itself is not allowed."""
    exclusive_highest: bool = False
    """True where ``highest`` itself is not allowed."""
    words: str = ""
    """Text of the error; empty takes the interval."""

    def holds(self, value: float) -> bool:
        """True when a number is in the interval; NaN never is."""
        above = value > self.lowest if self.exclusive_lowest else value >= self.lowest
        below = value < self.highest if self.exclusive_highest else value <= self.highest
        return above and below

    def __str__(self) -> str:
        if self.words:
            return self.words
        if (self.lowest, self.highest) == (0, 1) and not (self.exclusive_lowest or self.exclusive_highest):
            return "must be between 0 and 1"
        if self.highest == math.inf and self.exclusive_highest:
            above = "above" if self.exclusive_lowest else "of at least"
            return "must be a finite number" + (f" {above} {self.lowest:g}" if self.lowest > -math.inf else "")
        sides = []
        if self.lowest > -math.inf:
            sides.append(f"{'above' if self.exclusive_lowest else 'at least'} {self.lowest:g}")
        if self.highest < math.inf:
            sides.append(f"{'below' if self.exclusive_highest else 'at most'} {self.highest:g}")
        return f"must be {' and '.join(sides)}" if sides else "must be a number"


AtLeastOne = Annotated[int, Bounds(1)]
"""A count of at least 1."""
AtLeastTwo = Annotated[int, Bounds(2)]
"""A count of at least 2."""
WholeNonNegative = Annotated[int, Bounds(0)]
"""A count of at least 0."""
Finite = Annotated[float, Bounds(exclusive_lowest=True, exclusive_highest=True)]
"""Any finite number."""
Positive = Annotated[float, Bounds(0, math.inf, exclusive_lowest=True, exclusive_highest=True)]
"""A finite number above 0."""
NonNegative = Annotated[float, Bounds(0, math.inf, exclusive_highest=True)]
"""A finite number of at least 0."""
Share = Annotated[float, Bounds(0, 1)]
"""A share in [0, 1]."""
PositiveShare = Annotated[float, Bounds(0, 1, exclusive_lowest=True)]
"""A share in (0, 1]."""
ShareBelowOne = Annotated[float, Bounds(0, 1, exclusive_highest=True)]
"""A share in [0, 1)."""
OpenShare = Annotated[float, Bounds(0, 1, exclusive_lowest=True, exclusive_highest=True)]
"""A share in (0, 1)."""
