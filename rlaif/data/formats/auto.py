"""The layout of a file whose layout nobody named: the one that reads its first rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rlaif.data.files.rows import Row
from rlaif.data.formats.base import BarePrompt, LabeledPair, OtherTaskError, Record, SingleResponse
from rlaif.data.formats.language import Layout
from rlaif.data.formats.layouts import candidates
from rlaif.data.formats.rows import LayoutReader

NUM_ROWS = 100
"""Rows that are tried."""
NUM_TOLD = 3
"""Layouts of which a message tells why they do not fit."""
RECORDS = ("prompts", "demonstrations", "pairs", "labeled pairs")
"""What rows become, by the richness of a layout."""
MOST_ODD = 0.2
"""Largest share of them that a layout may be unable to use."""


class Fit(NamedTuple):
    """A layout that reads the rows."""

    layout: Layout
    records: list[Record]

    @property
    def richness(self) -> int:
        """Labeled pairs before unlabeled ones, before demonstrations, before prompts."""
        first = self.records[0]
        if isinstance(first, LabeledPair):
            return 3 if any(isinstance(item, LabeledPair) and item.p_first is not None for item in self.records) else 2
        return int(isinstance(first, SingleResponse))


class NoLayoutError(ValueError):
    """No layout reads the rows, or several do and read them differently."""


def layout_of(rows: Sequence[Row]) -> Layout:
    """The layout that reads these rows.

    Where several read them, the one with the richest records counts (labeled pairs, pairs, demonstrations, prompts);
    among those, one whose required columns contain another's; and among those, any when they read the same.

    Raises:
        NoLayoutError: There is none, two layouts read the rows differently, or a richer one reads most of the rows and
            the others lack a column of it.
    """
    having = [layout for layout in candidates() if rows and all(has_columns(layout, row.values) for row in rows)]
    fits = [fit for layout in having if (fit := _fit(layout, rows)) is not None]
    richest = max((fit.richness for fit in fits), default=-1)
    if fits and (cut := _row_of_poorer(rows, richest)) is not None:
        raise NoLayoutError(cut)
    if not fits or _unread(having, [fit for fit in fits if fit.richness == richest]):
        raise NoLayoutError(_nothing_fits(rows, [layout for layout in having if layout.richness > richest]))
    best = _most_specific([fit for fit in fits if fit.richness == richest])
    first = best[0]
    for other in best[1:]:
        if _said(other.records) != _said(first.records):
            raise NoLayoutError(
                f"the first rows can be read as {first.layout.name} and as {other.layout.name}, with other results:"
                f" {_difference(first, other)}. Name the right one"
            )
    return first.layout


def has_columns(layout: Layout, values: Mapping[str, object]) -> bool:
    """True when a row has the columns that a layout requires, and none that it excludes."""
    if any(values.get(name) for name in layout.absent):
        return False
    return all(any(name in values for name in group) for group in layout.required)


def _fit(layout: Layout, rows: Sequence[Row]) -> Fit | None:
    records: list[Record] = []
    num_odd, num_read = 0, 0
    for read in LayoutReader(layout).read(rows[:NUM_ROWS]):
        num_read += 1
        num_odd += read.odd is not None and not isinstance(read.odd, OtherTaskError)
        records += read.records
    return Fit(layout, records) if records and num_odd <= MOST_ODD * num_read else None


def _unread(having: Sequence[Layout], best: Sequence[Fit]) -> bool:
    """True where a layout with all columns of the best one, and with a label or responses besides, cannot use them."""
    richness = best[0].richness
    return any(layout.richness > richness and _contains(layout, fit.layout) for layout in having for fit in best)


def _most_specific(fits: list[Fit]) -> list[Fit]:
    """Those whose required columns are not contained in those of another, the most demanding first."""
    kept = [fit for fit in fits if not any(_contains(other.layout, fit.layout) for other in fits if other is not fit)]
    return sorted(kept or fits, key=lambda fit: (-len(fit.layout.required), -len(fit.layout.absent), fit.layout.name))


def _contains(layout: Layout, other: Layout) -> bool:
    """True when rows of the one always have the columns of the other, and not the other way round."""
    return _covers(layout, other) and not _covers(other, layout)


def _covers(layout: Layout, other: Layout) -> bool:
    return all(any(set(mine) <= set(group) for mine in layout.required) for group in other.required)


def _said(records: Sequence[Record]) -> list[tuple[object, ...]]:
    """What records say, whichever response they name first."""
    said: list[tuple[object, ...]] = []
    for record in records:
        if isinstance(record, LabeledPair):
            sides = ((record.first.strip(), record.p_first), (record.second.strip(), _other(record.p_first)))
            said.append((record.prompt.strip(), record.turns, *sorted(sides, key=lambda side: side[0])))
        elif isinstance(record, SingleResponse):
            said.append((record.prompt.strip(), record.turns, record.response))
        else:
            assert isinstance(record, BarePrompt)
            said.append((record.prompt.strip(), record.turns))
    return said


def _other(p_first: float | None) -> float | None:
    return None if p_first is None else round(1.0 - p_first, 9)


def _difference(first: Fit, other: Fit) -> str:
    mine, theirs = first.layout.columns - other.layout.columns, other.layout.columns - first.layout.columns
    told = [
        f"{fit.layout.name} reads {', '.join(sorted(columns))}"
        for fit, columns in ((first, mine), (other, theirs))
        if columns
    ]
    if len(first.records) != len(other.records):
        told.append(f"{len(first.records)} records against {len(other.records)}")
    return "; ".join(told) or "the same columns give other labels"


def lacking(layout: Layout, row: Row) -> list[str]:
    """Columns that a layout requires and a row lacks."""
    return ["|".join(group) for group in layout.required if not any(name in row.values for name in group)]


def _nothing_fits(rows: Sequence[Row], having: Sequence[Layout]) -> str:
    if not rows:
        return "there are no rows"
    told = f"no layout reads its first rows, which have the columns {', '.join(map(repr, rows[0].values))}"
    if (cut := _row_that_lacks(rows)) is not None:
        return cut
    if having:
        return f"{told}; {'; '.join(_first_odd(layout, rows) for layout in having[:NUM_TOLD])}"
    near = sorted(candidates(), key=lambda layout: len(lacking(layout, rows[0])))[:NUM_TOLD]
    hints = [f"{layout.name} lacks {', '.join(lacking(layout, rows[0]))}" for layout in near]
    return f"{told} (nearest: {'; '.join(hints)})"


def _row_that_lacks(rows: Sequence[Row]) -> str | None:
    """The first row without a column that the rows before it have; None where all have the same."""
    fits = [layout for layout in candidates() if has_columns(layout, rows[0].values)]
    for layout in sorted(fits, key=lambda layout: (-layout.richness, -len(layout.required))):
        for row in rows:
            if absent := lacking(layout, row):
                return (
                    f"{row.place}: lacks the key {', '.join(map(repr, absent))} of {layout.name}, which reads the rows"
                    f" before it; it has {', '.join(map(repr, row.values)) or 'none'}"
                )
    return None


def _row_of_poorer(rows: Sequence[Row], richness: int) -> str | None:
    """The first row that lacks a column without which most rows could not be more than prompts or demonstrations."""
    richer = [layout for layout in candidates() if layout.richness > richness]
    for layout in sorted(richer, key=lambda layout: (-layout.richness, -len(layout.required))):
        having = [row for row in rows if has_columns(layout, row.values)]
        if len(rows) // 2 < len(having) < len(rows) and _fit(layout, having) is not None:
            poorer = next((row for row in rows if lacking(layout, row)), None)
            if poorer is None:
                continue
            absent, has = (", ".join(map(repr, names)) for names in (lacking(layout, poorer), poorer.values))
            return (
                f"{poorer.place}: lacks the key {absent}, with which {len(having)} of the first {len(rows)} rows are"
                f" read as {RECORDS[layout.richness]}; it has {has or 'none'}. Correct it in a copy of the file, or say"
                " what the rows are"
            )
    return None


def _first_odd(layout: Layout, rows: Sequence[Row]) -> str:
    """Why a layout that has all its columns cannot use the rows."""
    odd = next((read for read in LayoutReader(layout).read(rows) if read.odd is not None), None)
    return f"{layout.name}: no record" if odd is None else f"{layout.name}: {odd.place}: {odd.odd}"
