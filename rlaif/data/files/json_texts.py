"""JSON texts, read so that every problem is told in words and no value breaks what comes after."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

MOST_DIGITS = 300
"""Digits of an integer: more is no number that a float could hold."""
MOST_LEVELS = 200
"""Lists and objects inside each other."""


class JsonError(Exception):
    """A text that is no JSON value of use.

    Args:
        what: What is wrong with it.
        position: Of the character where reading stopped, from 0.
        is_cut: True when the text ends inside a value.
    """

    def __init__(self, what: str, position: int = 0, *, is_cut: bool = False) -> None:
        self.what = what
        self.position = position
        self.is_cut = is_cut
        super().__init__(what)


def _integer(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise JsonError(f"has an integer of {len(digits)} digits ({digits:.12}…); write it as a text")
    return int(digits)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise JsonError(f"has an object with the key {twice!r} twice; only one value can be meant")
    return found


_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder(parse_int=_integer, object_pairs_hook=_object)


def parse(text: str) -> object:
    """The value of a text.

    Raises:
        JsonError: It is none, or something stands behind it.
    """
    value, end = _value(text, _next(text, 0))
    if (behind := _next(text, end)) < len(text):
        raise JsonError(f"is not JSON (Extra data at column {behind + 1})", behind)
    return value


def parse_all(text: str) -> Iterator[tuple[int, object]]:
    """All values of a text that has one after the other, each with the position of its first character.

    Raises:
        JsonError: What comes next is none.
    """
    end = 0
    while (start := _next(text, end)) < len(text):
        value, end = _value(text, start)
        yield start, value


def _next(text: str, position: int) -> int:
    """Position of the next character that is no white space."""
    space = _SPACE.match(text, position)
    assert space is not None
    return space.end()


def _value(text: str, start: int) -> tuple[object, int]:
    try:
        value, end = _DECODER.raw_decode(text, start)
    except JsonError as error:
        raise JsonError(error.what, start) from None
    except json.JSONDecodeError as error:
        is_cut = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string")
        raise JsonError(f"is not JSON ({_words(error)})", error.pos, is_cut=is_cut) from error
    except RecursionError:
        raise JsonError(f"has more than {MOST_LEVELS} lists and objects inside each other", start) from None
    if text.count("[", start, end) + text.count("{", start, end) > MOST_LEVELS and _levels(value) > MOST_LEVELS:
        raise JsonError(f"has more than {MOST_LEVELS} lists and objects inside each other", start)
    return value, end


def _words(error: json.JSONDecodeError) -> str:
    told = f"{error.msg} at column {error.colno}"
    if error.doc[error.pos : error.pos + 1] == "'":
        told += ": these are Python's quotes; write the file with json.dumps"
    return told


def _levels(value: object) -> int:
    levels, inside = 0, [value]
    while inside and levels <= MOST_LEVELS:
        levels += 1
        containers = [item for item in inside if isinstance(item, dict | list)]
        inside = [item for one in containers for item in (one.values() if isinstance(one, dict) else one)]
    return levels
