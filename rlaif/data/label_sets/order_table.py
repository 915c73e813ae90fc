"""One judge's verdicts on pairs that it saw in two orders, by the texts of the pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from rlaif.data.formats.base import LabeledPair, OddRowError, ReadRow
from rlaif.data.formats.labels import PairLabels
from rlaif.data.formats.language import Label, Layout
from rlaif.data.formats.paths import ABSENT, path_of
from rlaif.data.formats.words import folded
from rlaif.data.label_sets.label_table import ReadRows
from rlaif.data.label_sets.recorded_file import RecordedFile
from rlaif.data.repeated import PairKey
from rlaif.errors import DataError

Names = Literal["slot", "response"]
SWAPPED = {"true": True, "1": True, "yes": True, "swapped": True, "false": False, "0": False, "no": False}
SWAPPED |= {"given": False, "": False}
"""Cells of the column that says whether the judge saw a row's responses swapped, without case."""


class Verdict(NamedTuple):
    """One verdict on a pair in one order."""

    turned: bool
    """As :attr:`PairKey.turned` of the pair in the order in which the judge saw it."""
    p_slot1: float | None
    """P(the response in slot 1 is better); None where the judge gave no verdict."""
    text: str
    """The verdict as it stands in the file."""


@dataclass(slots=True)
class Verdicts:
    """All verdicts on one pair."""

    confidence: float | None
    """Of the first row."""
    weight: float
    """Of the first row."""
    given: list[Verdict] = field(default_factory=list)
    """In the order of the rows."""


@dataclass(frozen=True, kw_only=True)
class SwappedOrder:
    """Where a row says what the judge answered in the swapped order.

    Without a column every row has its responses as the judge saw them.

    Args (fields):
        verdict: Column of the verdict in the swapped order, beside that in the given order.
        flag: Column that is true where the judge saw the row's responses swapped.
        names: What a verdict in the swapped order names: the slot that the judge saw, or the row's response.
    """

    verdict: str | None = None
    flag: str | None = None
    names: Names = "slot"


class OrderTable:
    """Reads a file and keeps the verdicts of each pair by the order in which the judge saw it.

    Rows that cannot be used are left out and counted.

    Args:
        file: The rows.
        swapped: Where they say what the judge answered in the swapped order.
        confidences: Only rows with one of these confidences; empty takes all.

    Raises:
        DataError: The file cannot be read, or not one of its rows can be used.
    """

    def __init__(self, file: RecordedFile, swapped: SwappedOrder, *, confidences: Sequence[float] = ()) -> None:
        self.verdicts: dict[str, Verdicts] = {}
        """By :attr:`PairKey.id`."""
        self._file, self._swapped = file, swapped
        rows = ReadRows(file, confidences)
        for row, pair in rows:
            try:
                self._add(row, pair)
            except OddRowError as odd:
                odd.pair = (pair.prompt, pair.first, pair.second)
                rows.leave_out(row, odd)
        self.unusable = rows.unusable
        """By :attr:`PairKey.id`, what is wrong with the first row of a pair whose verdict cannot be used."""
        rows.check_any(len(self.verdicts))
        self.reading = rows.summary(
            num_pairs=len(self.verdicts),
            num_labels=sum(both_orders(item.given) for item in self.verdicts.values()),
            num_verdicts=sum(len(item.given) for item in self.verdicts.values()),
        )

    def find(self, key: PairKey) -> Verdicts | None:
        """The verdicts on a pair; None where it is not in the file."""
        return self.verdicts.get(key.id)

    def _add(self, row: ReadRow, pair: LabeledPair) -> None:
        key = PairKey.of(pair.prompt, pair.first, pair.second)
        read = list(self._read(row.values, pair, key.turned))
        found = self.verdicts.setdefault(key.id, Verdicts(pair.confidence, pair.weight))
        found.given += read

    def _read(self, values: Mapping[str, object], pair: LabeledPair, turned: bool) -> list[Verdict]:
        swapped, label = self._swapped, self._label(values)
        assert label.at is not None
        cell = label.at.value(values)
        if swapped.flag is not None and self._is_swapped(values, swapped.flag):
            return [self._seen_swapped(values, label, pair.p_first, turned)]
        given = [Verdict(turned, pair.p_first, _text(cell))]
        if swapped.verdict is None:
            return given
        if swapped.verdict not in values:
            raise DataError(
                f"{self._file.name}: lacks {self._file.group}.columns.preference_swapped={swapped.verdict}; a row has "
                f"{', '.join(values)}"
            )
        there = replace(label, at=path_of(swapped.verdict))
        layout = Layout(name=self._file.layout.name, responses=self._file.layout.responses, labels=(there,))
        named = PairLabels(layout, values, ()).p_first(0, 1)
        return [*given, self._seen_swapped(values, there, named, turned)]

    def _label(self, values: Mapping[str, object]) -> Label:
        """The verdict of a row.

        Raises:
            DataError: The layout has no column for it: its rows say which response is better in another way.
        """
        label = self._file.layout.label_for(values)
        if label is None or label.at is None:
            raise DataError(
                f"{self._file.name}: {self._file.group}.rows=orders needs a layout with one column for the verdict,"
                f" such as {self._file.group}.format=table; {self._file.layout.name} has none"
            )
        return label

    def _seen_swapped(self, values: Mapping[str, object], label: Label, named: float | None, turned: bool) -> Verdict:
        """A verdict of the swapped order, in which slot 1 holds the row's second response."""
        assert label.at is not None
        cell = label.at.value(values)
        # The name of a response's writer means no slot, unless it is a number or one of the words for slots as well.
        is_name = label.kind == "words" and folded(cell) not in label.words
        names_writer = is_name and PairLabels(self._file.layout, values, ()).writer(cell) is not None
        if named is not None and (names_writer or self._swapped.names == "response"):
            named = 1.0 - named
        return Verdict(not turned, named, _text(cell))

    def _is_swapped(self, values: Mapping[str, object], column: str) -> bool:
        cell = values.get(column)
        text = "" if cell is None else str(cell).strip().casefold().removesuffix(".0")
        if text not in SWAPPED:
            raise OddRowError("unknown order", f"{column}={cell!r:.40} is none of {', '.join(filter(None, SWAPPED))}")
        return SWAPPED[text]


def both_orders(given: Sequence[Verdict]) -> bool:
    """True where there is a verdict in each order."""
    return len({verdict.turned for verdict in given if verdict.p_slot1 is not None}) == 2


def _text(cell: object) -> str:
    return "" if cell is None or cell is ABSENT else str(cell)
