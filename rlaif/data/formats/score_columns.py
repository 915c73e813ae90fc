"""Scores that stand beside a labeled pair and are not its label: do they say the same?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from rlaif.data.formats.base import LabeledPair, OddRowError, Record
from rlaif.data.formats.labels import number_of
from rlaif.data.formats.language import Layout
from rlaif.data.formats.paths import as_list

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_SCORES = frozenset(("score", "rating", "reward", "grade", "quality", "point", "star"))
_RANKS = frozenset(("rank", "ranking", "place"))
_MARGINS = ("margin", "score_diff", "score_difference", "score_margin", "reward_margin")
_VERDICTS = ("winner", "preference", "preferred", "better", "verdict", "choice", "label")
_LISTS = ("ratings", "rating", "scores", "score", "rewards")
_SIDES = ("chosen", "rejected")


def score_agrees(
    layout: Layout, values: Mapping[str, Any], records: list[Record], renamed: Mapping[str, str]
) -> bool | None:
    """Whether the scores beside a pair prefer the response that its label prefers.

    Columns are scores of the two responses where they have the responses' own words (chosen, rejected; a, b; 1, 2) and
    one of score, rating, reward, grade, quality, or rank (1 is the best). A column margin is chosen minus rejected, and
    a verdict may be the word chosen or rejected. A list of two under ``ratings`` or ``scores`` is in the order of
    chosen and rejected, or of ``order`` where the row has it.

    Args:
        layout: How the row is read.
        values: The row.
        records: What it became.
        renamed: The file's names of columns by the layout's, where they differ.

    Returns:
        None where there are no such scores, they are equal, the label is a tie, or the scores are the label.
    """
    label = layout.label_for(values)
    if label is None or label.kind in ("scores", "ranks") or len(records) != 1:
        return None
    (pair,) = records
    if not isinstance(pair, LabeledPair) or pair.p_first is None:
        return None
    columns = [renamed.get(name, name) for path in layout.responses.paths if (name := path.name_in(values))]
    if len(columns) != 2 or len(different(columns[0], columns[1])) != 2:
        return None
    margins = [left - right for left, right in _scores(values, columns) if left != right]
    p_left = 1.0 if label.kind == "order" else pair.p_first
    if not margins or p_left == 0.5 or (min(margins) < 0.0 < max(margins)):
        return None
    return (p_left > 0.5) == (margins[0] > 0.0)


def _scores(values: Mapping[str, Any], columns: list[str]) -> Iterator[tuple[float, float]]:
    """Scores of the first and of the second response."""
    left, right = different(*columns)
    for name in values:
        words = words_of(name)
        kinds = {word.removesuffix("s") for word in words}
        if left in words and kinds & (_SCORES | _RANKS):
            wanted = [right if word == left else word for word in words]
            other = next((other for other in values if words_of(other) == wanted), None)
            if other is not None:
                yield from _pair(*((values[other], values[name])[:: 1 if kinds & _RANKS else -1]))
    if sorted((left, right)) != list(_SIDES):
        return
    yield from _of_verdicts(values, left)
    if "generations" not in values:
        order = as_list(values.get("order")) or list(_SIDES)
        for name in _LISTS:
            both = as_list(values.get(name)) or []
            if len(both) == 2 and sorted(map(str, order)) == list(_SIDES):
                yield from _pair(*(both if order[0] == left else both[::-1]))


def _of_verdicts(values: Mapping[str, Any], left: str) -> Iterator[tuple[float, float]]:
    """What a margin, or the word chosen or rejected, says of two columns of these names."""
    sign = 1.0 if left == _SIDES[0] else -1.0
    for name in _MARGINS:
        margin = _mean(values.get(name))
        if margin is not None:
            yield sign * margin, 0.0
    for name in _VERDICTS:
        word = str(values.get(name)).strip().casefold()
        if word in _SIDES:
            yield float(word == left), float(word != left)


def _pair(left: object, right: object) -> Iterator[tuple[float, float]]:
    both = _mean(left), _mean(right)
    if both[0] is not None and both[1] is not None:
        yield both[0], both[1]


def _mean(value: object) -> float | None:
    """A number, or the mean of a list of numbers; None for everything else."""
    try:
        numbers = [number_of(item, "score") for item in as_list(value) or [value]]
    except OddRowError:
        return None
    present = [number for number in numbers if number is not None]
    return sum(present) / len(present) if present else None


def words_of(name: str) -> list[str]:
    """The words of a column's name, in small letters."""
    return [word.casefold() for word in _WORD.findall(name)]


def different(left: str, right: str) -> list[str]:
    """The words of two names in which they differ, where that is one of each.

    >>> different("response_a", "response_b"), different("prompt", "answer_text")
    (['a', 'b'], [])
    """
    words = words_of(left), words_of(right)
    if len(words[0]) != len(words[1]):
        return []
    found = [pair for pair in zip(*words, strict=True) if pair[0] != pair[1]]
    return list(found[0]) if len(found) == 1 else []
