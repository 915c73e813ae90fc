"""The label of a pair from what a row says: order, words, a scale, scores, ranks, winners, votes, rankings."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from rlaif.data.formats.base import OddRowError
from rlaif.data.formats.language import ROW, Label, Layout
from rlaif.data.formats.panels import left_is_first
from rlaif.data.formats.paths import ABSENT, ValuePath, as_list, path_of
from rlaif.data.formats.words import COMMON_WORDS, common_word, folded

MOST_WORDS = 12
"""Words that an error lists."""
NOT_GIVEN = ("discarded", "draft", "pending")
"""Statuses of answers that do not count."""
SIDES = ("left", "right")
"""Answers that name a place on the rater's screen."""
NO_NUMBERS = ("", "n/a", "na", "nan", "none", "null")
"""Words that stand for a missing number."""


@dataclass(frozen=True)
class PairLabels:
    """The labels of one row's responses.

    Args (fields):
        layout: Says what the label is.
        row: The row.
        items: What the row says of each response: an item of a list, or a row.
    """

    layout: Layout
    row: Mapping[str, Any]
    items: Sequence[object]

    @property
    def label(self) -> Label | None:
        """What the label of this row is."""
        return self.layout.label_for(self.row)

    def p_first(self, first: int, second: int) -> float | None:
        """P(response ``first`` is better than response ``second``), None where the row has no label for them.

        Raises:
            OddRowError: The value means nothing in this layout.
        """
        label = self.label
        if label is None:
            return None
        match label.kind:
            case "order":
                return self._by_order(label, first < second)
            case "words" | "scale":
                return _turned(_mean(self._raters(label)), first > second)
            case "one_hot":
                return _turned(self._by_columns(label), first > second)
            case "votes":
                return _turned(self._by_votes(label), first > second)
            case "ranking":
                return _mean(self._rankings(label, first, second))
            case _:
                return self._by_worth(first, second)

    @property
    def has_two_grades(self) -> bool:
        """True where a response is good or bad by itself, as a word or a pick says: two of one grade are no tie."""
        label = self.label
        if label is None or label.kind == "picked":
            return label is not None
        return label.kind == "scores" and set(label.words.values()) == {0.0, 1.0}

    def worth(self, index: int) -> float | None:
        """How good a response is by its score or rank, the larger the better; None where it has none."""
        label = self.label
        if label is not None and label.kind == "picked":
            return self._picked(label, index)
        if label is None or label.kind not in ("scores", "ranks"):
            return None
        if label.paths:
            return number_of(label.paths[index].value(self.row), label.paths[index].text)
        total = 0.0
        for path, weight in label.weights:
            value = self._number_at(path, index)
            if value is None:
                return None
            total += weight * value
        return -total if label.kind == "ranks" else total

    def _picked(self, label: Label, index: int) -> float | None:
        """1 for a response that was picked, 0 for another; None where the row has no picks."""
        assert label.at is not None
        picked = label.at.value(self.row)
        if picked is ABSENT or picked is None:
            return None
        own = index if label.id is None else label.id.value(self.items[index])
        return float(folded(own) in map(folded, as_list(picked) or [picked]))

    def _number_at(self, path: ValuePath, index: int) -> float | None:
        """The number of a response; the mean where the path, or the one of its others that is there, leads to many."""
        value = self._of_response(path, index)
        words = self.label.words if self.label else {}
        if words and folded(value) in words:
            return words[folded(value)]
        if (values := as_list(value)) is not None and any(each.has_many for each in (path, *path.others)):
            return _mean(number_of(item, path.text) for item in values)
        return number_of(value, path.text)

    def _of_response(self, path: ValuePath, index: int) -> object:
        if not path.text.startswith(ROW):
            return self.items[index] if path.text == "." else path.value(self.items[index])
        values = as_list(path_of(path.text.removeprefix(ROW)).value(self.row)) or []
        if values and len(values) != len(self.items):
            what = f"{len(values)} in {path.text.removeprefix(ROW)} for {len(self.items)} responses"
            raise OddRowError("not one score for each response", what)
        return values[index] if values else None

    def _by_order(self, label: Label, is_first: bool) -> float | None:
        value = ABSENT if label.p is None else label.p.value(self.row)
        p = 1.0 if value is ABSENT else _probability(value, label.p.text if label.p else "")
        return _turned(p, not is_first)

    def _raters(self, label: Label) -> Iterator[float | None]:
        items = self._of_raters(label)
        _check_one_question(label, items)
        for item in items:
            answer = label.answer.value(item) if label.answer and isinstance(item, Mapping) else item
            p_first = self._meaning(label, answer)
            yield _turned(p_first, self._is_turned(label, item, answer))

    def _of_raters(self, label: Label) -> list[Any]:
        """What each rater said, without what a status takes back."""
        assert label.at is not None
        value = label.at.value(self.row)
        several = value is not ABSENT if label.at.has_many else label.answer is not None
        items = as_list(value) if several else None
        items = [value] if items is None else items
        statuses = None if label.statuses is None else as_list(label.statuses.value(self.row))
        if statuses is None:
            return items
        if len(statuses) != len(items):
            raise OddRowError("odd statuses", f"{len(statuses)} of them for {len(items)} answers")
        return [item for item, status in zip(items, statuses, strict=True) if folded(status) not in NOT_GIVEN]

    def _is_turned(self, label: Label, item: object, answer: object) -> bool:
        """True where the answer is a side, and the rater saw the second response on the left."""
        panels = ABSENT if label.panels is None else label.panels.value(item)
        if panels is ABSENT or panels is None or folded(answer) not in SIDES:
            return False
        first, second = (path.name_in(self.row).rpartition(".")[2] for path in self.layout.responses.paths)
        return not left_is_first(panels, (first, second))

    def _meaning(self, label: Label, answer: object) -> float | None:
        """One rater's answer as P(first)."""
        name = label.at.name_in(self.row) if label.at else ""
        values = as_list(answer)
        if values is not None and len(values) == 1:
            answer = values[0]
        if answer is ABSENT or answer is None or (isinstance(answer, str) and not answer.strip()):
            return None
        if label.kind == "words":
            writer = self.writer(answer)
            return _word(answer, label, name) if writer is None else writer
        number = _preference_number(answer, name)
        return None if number is None else _on_scale(number, label, name)

    def writer(self, answer: object) -> float | None:
        """The response whose writer an answer names, as P(first); None where it names none, or both."""
        names = [path.value(self.row) for path in self.layout.responses.sources]
        same = [name not in (ABSENT, None, "") and folded(name) == folded(answer) for name in names]
        return float(same[0]) if len(same) == 2 and sum(same) == 1 else None

    def _by_columns(self, label: Label) -> float | None:
        marks = [_truth(path.value(self.row), path.text) for path in label.paths]
        if None in marks or sum(map(bool, marks)) > 1:
            raise OddRowError(
                "unknown preference", f"{', '.join(p.text for p in label.paths)}: {marks}; one is to be 1"
            )
        first, second, *ties = marks
        if not (first or second):
            return 0.5 if any(ties) or not ties else None
        return 1.0 if first else 0.0

    def _by_votes(self, label: Label) -> float | None:
        """The share of the votes that the first response got; a vote for the tie is half a vote.

        None where a response has no count: it is not known to have no votes.
        """
        counts = [number_of(path.value(self.row), path.text) for path in label.paths]
        known = [count for count in counts if count is not None]
        if len(known) < len(counts):
            return None
        if min(known) < 0.0 or not sum(known):
            raise OddRowError("no votes", f"{', '.join(path.text for path in label.paths)}: {known}")
        first, second, *ties = known
        return (first + 0.5 * sum(ties)) / (first + second + sum(ties))

    def _rankings(self, label: Label, first: int, second: int) -> Iterator[float | None]:
        for ranking in self._of_raters(label):
            if ranking is ABSENT or ranking is None:
                continue
            ranks = dict(_ranks(label, ranking))
            pair = [ranks.get(index) for index in (first, second)]
            yield None if pair[0] is None or pair[1] is None else _better(pair[1], pair[0], None)

    def _by_worth(self, first: int, second: int) -> float | None:
        worth = self.worth(first), self.worth(second)
        if worth[0] is None or worth[1] is None:
            return None
        is_score = self.label is not None and self.label.kind == "scores"
        temperature = self.layout.score_temperature if is_score else None
        return _better(worth[0], worth[1], temperature)


def _check_one_question(label: Label, items: Sequence[object]) -> None:
    """Refuse answers to several questions, whose mean would mean nothing.

    Raises:
        OddRowError: There are several.
    """
    if label.question is None or label.answer is None or label.at is None:
        return
    answered = [item for item in items if label.answer.value(item) is not ABSENT]
    asked = sorted({str(name) for item in answered if (name := label.question.value(item)) is not ABSENT})
    if len(asked) > 1:
        raise OddRowError(
            "answers to several questions",
            f"{label.question.text}: {', '.join(asked)}; name one in a layout of your own,"
            f" e.g. label.at: {label.at.text.removesuffix('[*]')}[{label.question.text}!={asked[0]}]",
        )


def _ranks(label: Label, ranking: object) -> Iterator[tuple[int, float | None]]:
    """Index and rank of each response in one ranking: objects with name and rank, a list of names and one of ranks, or
    the names alone, the best first.

    Raises:
        OddRowError: A name is that of no response.
    """
    if isinstance(ranking, Mapping):
        names, ranks = as_list(ranking.get(label.name)) or [], as_list(ranking.get(label.rank)) or []
        items = list(zip(names, ranks, strict=False)) if len(names) == len(ranks) else []
    else:
        if (ranked := as_list(ranking)) is None:
            raise OddRowError("no ranking", f"{ranking!r:.40} is no list of responses")
        listed = enumerate(ranked)
        items = [(i.get(label.name), i.get(label.rank)) if isinstance(i, Mapping) else (i, at) for at, i in listed]
    for name, rank in items:
        yield _index_of(name, label.names), number_of(rank, label.rank)


def _index_of(name: object, names: Sequence[str]) -> int:
    """The response of a name, written with or without marks, or as people name the first and the second."""
    plain = [_plain(known) for known in names]
    if _plain(name) in plain:
        return plain.index(_plain(name))
    first = common_word(folded(name))
    if len(names) == 2 and first in (0.0, 1.0) and first is not False:
        return 0 if first else 1
    raise OddRowError("unknown response", f"{name!r:.40} is none of {', '.join(names)}")


def _plain(name: object) -> str:
    return re.sub(r"[\W_]+", "", str(name)).casefold()


def pairs_of(count: int, pairing: str, worth: Sequence[float | None]) -> list[tuple[int, int]]:
    """The pairs of k responses.

    Args:
        count: k, at least 2.
        pairing: ``all``; ``best_worst`` (one pair, the first of equals); ``adjacent`` (neighbours in the order of
            their scores).
        worth: Of each response, the larger the better; None for a response that stays out where others have one.

    >>> pairs_of(3, "adjacent", [1.0, 3.0, 2.0])
    [(1, 2), (2, 0)]
    """
    indices = list(range(count))
    if count > 2 and any(value is not None for value in worth):
        indices = [index for index in indices if worth[index] is not None]
    ranked = sorted(indices, key=lambda index: -(worth[index] or 0.0))
    if pairing == "best_worst" and len(ranked) > 1:
        return [(ranked[0], ranked[-1])]
    if pairing == "adjacent":
        return list(pairwise(ranked))
    return [(first, second) for at, first in enumerate(indices) for second in indices[at + 1 :]]


def _better(first: float, second: float, temperature: float | None) -> float:
    """P(first is better) from two scores: sigmoid of their difference by the temperature, or the higher one wins."""
    if temperature is not None:
        return 1.0 / (1.0 + math.exp(-max(-700.0, min(700.0, (first - second) / temperature))))
    return 0.5 if first == second else float(first > second)


def _word(answer: object, label: Label, name: str) -> float | None:
    word = folded(answer)
    if word in label.words:
        return label.words[word]
    meaning = common_word(word) if label.words == COMMON_WORDS else False
    if meaning is False:
        known = [*label.words]
        shown = ", ".join(known[:MOST_WORDS]) + (", …" if len(known) > MOST_WORDS else "")
        raise OddRowError("unknown preference", f"{name}: {answer!r:.40} is none of {shown}")
    return meaning


def _on_scale(number: float, label: Label, name: str) -> float | None:
    if number in label.skip:
        return None
    if number in label.ties:
        return 0.5
    first, second = label.scale
    p_first = (number - second) / (first - second)
    if not 0.0 <= p_first <= 1.0:
        low, high = sorted(label.scale)
        raise OddRowError("unknown preference", f"{name}: {number:g} is not between {low:g} and {high:g}")
    return p_first


def _preference_number(value: object, name: str) -> float | None:
    """A number that says which response is better; true and false are none, as nobody can see what they mean."""
    try:
        if not isinstance(value, bool) and folded(value) not in _TRUTH:
            return number_of(value, name)
    except OddRowError:
        pass
    raise OddRowError("unknown preference", f"{name}: {value!r:.40} is no number")


def _probability(value: object, name: str) -> float | None:
    number = _preference_number(value, name)
    if number is not None and not 0.0 <= number <= 1.0:
        raise OddRowError("unknown preference", f"{name}: {number:g} is not between 0 and 1")
    return number


def number_of(value: object, name: str) -> float | None:
    """A number, or a number as text; None where it is missing.

    Raises:
        OddRowError: The value is something else.
    """
    if value is ABSENT or value is None or (isinstance(value, str) and value.strip().casefold() in NO_NUMBERS):
        return None
    if isinstance(value, str) and value.strip().casefold() in _TRUTH:
        value = _TRUTH[value.strip().casefold()]
    try:
        number = float(value) if isinstance(value, bool | int | float) else float(str(value))
    except (ValueError, OverflowError):
        raise OddRowError(f"{name} is no number", f"{value!r:.40}") from None
    if math.isnan(number):
        return None
    if not math.isfinite(number):
        raise OddRowError(f"{name} is no number", f"{value!r:.40}")
    return number


def number_at(path: ValuePath | None, row: Mapping[str, Any]) -> float | None:
    """The number at a path; None without a path or a value."""
    return None if path is None else number_of(path.value(row), path.text)


_TRUTH = {"true": True, "false": False}
"""What tables make of true and false."""


def _truth(value: object, name: str) -> bool | None:
    word = folded(value)
    return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}.get(word)


def _mean(values: Iterable[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None


def _turned(p: float | None, turned: bool) -> float | None:
    return 1.0 - p if turned and p is not None else p
