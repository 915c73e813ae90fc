"""Paths to values of a row: ``info.post``, ``messages[-1].content``, ``annotations[*].result[*].value``."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import takewhile
from typing import Any

Step = str | int | None | tuple[str, str]
"""A key, an index (negative: from the end), None for all items of a list, :data:`VALUES`, or a key and a value: all
items of a list that have another value there."""
VALUES = ("", "")
"""All values of an object."""
_PIECE = re.compile(r"\[(\*|values|-?\d+|\w+!=\w+)\]|([^.\[\]]+)|\.")


class PathError(ValueError):
    """A path that cannot be read."""


class _Absent:
    def __repr__(self) -> str:
        return "nothing"


ABSENT: Any = _Absent()
"""What a path leads to where a key or an index is not there."""


@dataclass(frozen=True)
class ValuePath:
    """A path from a row to a value, or to several where it holds ``[*]``."""

    text: str
    """As written, without the parentheses."""
    steps: tuple[Step, ...]
    optional: bool = False
    """True when a row may lack the value (written in parentheses)."""
    others: tuple[ValuePath, ...] = ()
    """Other paths, tried in turn where this one leads to nothing (written with ``|`` between)."""

    @property
    def roots(self) -> tuple[str, ...]:
        """The columns that the path, or one of the others, begins in; with dots where a table is flat."""
        return tuple(dict.fromkeys(name for path in (self, *self.others) for name in path._keys))

    def column_in(self, values: Mapping[str, object]) -> str:
        """The column of a row that the path begins in; empty where there is none."""
        names = (name for path in (self, *self.others) for name, _ in reversed(path._starts))
        return next((name for name in names if name in values), "")

    @cached_property
    def _keys(self) -> tuple[str, ...]:
        """Columns that the path may begin in: its first key, the first two with a dot between, and so on."""
        keys = [str(step) for step in takewhile(lambda step: isinstance(step, str), self.steps)]
        return tuple(".".join(keys[:count]) for count in range(1, len(keys) + 1))

    @cached_property
    def _starts(self) -> tuple[tuple[str, tuple[Step, ...]], ...]:
        """These columns with the steps that follow, and a column that is named as the path is written."""
        found = [(name, self.steps[count:]) for count, name in enumerate(self._keys, 1)]
        return tuple(found) if self.text in self._keys else (*found, (self.text, ()))

    def name_in(self, values: object) -> str:
        """The path, of several the one that leads to a value, as a user knows it."""
        return next((path.text for path in (self, *self.others) if any(True for _ in path.values(values))), self.text)

    @property
    def has_many(self) -> bool:
        """True when the path leads to several values."""
        return any(step is None or isinstance(step, tuple) for step in self.steps)

    def value(self, values: object) -> Any:
        """The value, or :data:`ABSENT`; of several the list of all that are there."""
        found = list(self.values(values))
        if not found:
            return next((value for path in self.others if (value := path.value(values)) is not ABSENT), ABSENT)
        return found if self.has_many else found[0]

    def values(self, values: object) -> Iterator[Any]:
        """All values that are there, in their order."""
        if isinstance(values, Mapping):
            for name, steps in reversed(self._starts):  # a column whose own name holds a dot or a bracket comes first
                if name in values:
                    yield from _walk(values[name], steps)
                    return


@lru_cache(maxsize=1024)
def path_of(text: str) -> ValuePath:
    """Read a path.

    Args:
        text: Keys with dots between, ``[2]`` and ``[-1]`` for one item of a list, ``[*]`` for all, ``[values]`` for all
            values of an object, ``[status!=discarded]`` for all with another value under that key; ``|`` between paths
            takes the first that is there, and parentheses around it all say that a row may lack it.

    Raises:
        PathError: It is none.

    >>> path_of("(info.posts[0])").steps
    ('info', 'posts', 0)
    """
    optional = text.startswith("(") and text.endswith(")")
    plain, *others = (text[1:-1] if optional else text).split("|")
    steps = _steps(plain, text)
    return ValuePath(plain, steps, optional, tuple(ValuePath(other, _steps(other, text)) for other in others))


def _steps(plain: str, text: str) -> tuple[Step, ...]:
    pieces = list(_PIECE.finditer(plain))
    if not pieces or "".join(piece[0] for piece in pieces) != plain:
        raise PathError(f"{text!r} is no path; write e.g. question, info.post, messages[-1].content, votes[*].winner")
    steps: list[Step] = []
    for piece in pieces:
        index, key = piece[1], piece[2]
        if index is not None:
            steps.append(_index(index))
        elif key is not None:
            steps.append(key)
    if not steps or not isinstance(steps[0], str):
        raise PathError(f"{text!r}: a path begins with the name of a column")
    return tuple(steps)


def _index(text: str) -> Step:
    if text == "*":
        return None
    if text == "values":
        return VALUES
    key, other, value = text.partition("!=")
    return (key, value.casefold()) if other else int(text)


def as_list(value: object) -> list[Any] | None:
    """A list of JSON or Arrow as a list; None for everything else, texts too."""
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return list(value)
    return None


def _walk(value: object, steps: tuple[Step, ...]) -> Iterator[Any]:
    if not steps:
        yield None if isinstance(value, float) and math.isnan(value) else value  # how tables write an empty cell
        return
    step, rest = steps[0], steps[1:]
    if isinstance(step, str):
        if isinstance(value, Mapping) and step in value:
            yield from _walk(value[step], rest)
        return
    items = _items(value, step)
    if items is None:
        return
    if step is None or isinstance(step, tuple):
        for item in items:
            if not _is_left_out(item, step):
                yield from _walk(item, rest)
    elif -len(items) <= step < len(items):
        yield from _walk(items[step], rest)


def _is_left_out(item: object, step: Step) -> bool:
    """True for an item that has the value which a step excludes."""
    if not isinstance(step, tuple) or step == VALUES or not isinstance(item, Mapping):
        return False
    return str(item.get(step[0])).casefold() == step[1]


def _items(value: object, step: Step) -> list[Any] | None:
    """The items that ``[…]`` leads to: of a list, the values of an object, the rows of an object of columns."""
    if isinstance(value, Mapping) and isinstance(step, tuple) and step[0] in value:
        columns = [as_list(column) for column in value.values()]
        if any(column is None or len(column) != len(columns[0] or []) for column in columns):
            return None
        return [dict(zip(value, row, strict=True)) for row in zip(*map(_listed, columns), strict=True)]
    if step == VALUES:
        return list(value.values()) if isinstance(value, Mapping) else None
    return as_list(value)


def _listed(column: list[Any] | None) -> list[Any]:
    return column or []
