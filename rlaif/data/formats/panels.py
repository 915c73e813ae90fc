"""Which response stood on the left, from the names of the panels that an annotator saw (Label Studio's ``to_name``)."""

from __future__ import annotations

import re

from rlaif.data.formats.base import OddRowError
from rlaif.data.formats.paths import as_list

_MARK = re.compile(r"(\d+|left|right|first|second|(?<![a-z])[ab])$")
_ORDER = {"left": 1, "right": 2, "first": 1, "second": 2, "a": 1, "b": 2}
_BY_PLACE = {"left", "right"}
"""Marks that say where a panel stands, not what it shows."""


def left_is_first(panels: object, columns: tuple[str, str]) -> bool:
    """Whether the left panel shows the first response.

    Args:
        panels: Names of the left and of the right panel, as a list or with a comma between.
        columns: Names of the columns of the first and of the second response.

    Raises:
        OddRowError: The names do not say which response a panel shows.

    >>> left_is_first("txt-1,txt-2", ("answer1", "answer2")), left_is_first("txt-2,txt-1", ("answer1", "answer2"))
    (True, False)
    """
    names = [_plain(name) for name in (str(panels).split(",") if isinstance(panels, str) else as_list(panels) or [])]
    first, second = map(_plain, columns)
    if names == [first, second] or names == [second, first]:
        return names[0] == first
    marks = [mark[0] for name in names if (mark := _MARK.search(name))]
    if len(marks) == len(names) == 2:
        places = [int(mark) if mark.isdigit() else _ORDER[mark] for mark in marks]
        if places[0] < places[1]:
            return True
        if places[0] > places[1] and not _BY_PLACE & set(marks):
            return False
    raise OddRowError(
        "unknown panels",
        f"{panels!r:.60} does not say whether {columns[0]} or {columns[1]} stood on the left; write there"
        f" {columns[0]},{columns[1]} or {columns[1]},{columns[0]}, whichever was shown",
    )


def _plain(name: object) -> str:
    return re.sub(r"[^0-9a-z]+", " ", str(name).casefold()).strip()
