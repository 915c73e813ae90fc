"""A file of prompts, demonstrations or pairs in any known layout: what ``data=files`` and ``labeler=file`` read."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, islice
from typing import Any

from rlaif.artifacts.fingerprints import code_digest
from rlaif.data.files.paths import Typed
from rlaif.data.files.rows import Row
from rlaif.data.files.table_files import TableFiles
from rlaif.data.formats import auto
from rlaif.data.formats.base import LabeledPair, OddRowError, OtherTaskError, ReadRow, Record, SingleResponse
from rlaif.data.formats.encodings import label_of_encoding
from rlaif.data.formats.language import PAIRINGS, Layout, Pairing
from rlaif.data.formats.layouts import AUTO, candidates, layout_identity, layout_named
from rlaif.data.formats.likely_columns import likely_options
from rlaif.data.formats.paths import ABSENT, PathError, path_of
from rlaif.data.formats.rows import NUM_FIRST, LayoutReader
from rlaif.data.formats.suspicions import NUM_ROWS, SIGNS, TIE, Sign, SignCounter, is_undecided_tie, sign_messages
from rlaif.data.formats.unread import unread_lines
from rlaif.data.formats.words import folded
from rlaif.errors import ConfigError, DataError
from rlaif.types import content_id

TABLE, ALPACA_EVAL = "table", "alpaca_eval"
PREFERENCE = "preference"
UNREAD = "unread_responses"
HINTED = ("no_label", "words_as_responses")
"""Signs for which another reading is told even if it gives no more than the layout promises."""
NUM_SHOWN = 3
PREVIEW = 60
"""Characters of a text that are shown."""


@dataclass(frozen=True, kw_only=True)
class ReadingOptions:
    """How the rows of a file are read; named ``data.…`` or ``labeler.…`` on the command line.

    Raises:
        ConfigError: All options that have no such value.
    """

    group: str = "data"
    """The config group that the options belong to, for messages."""
    format: str = AUTO
    """Name of a layout, path of a layout's YAML, or ``auto``: the layout that reads the first 100 rows."""
    columns: Mapping[str, str] | None = None
    """Names of columns that differ from those that the layout reads: {layout's name: the file's}."""
    preference: str | Mapping[str, float] | Sequence[Sequence[object]] | None = None
    """Encoding of the preference column, see :func:`~rlaif.data.formats.encodings.label_of_encoding`."""
    where: Mapping[str, object] | None = None
    """Only rows in which these paths have one of these values."""
    pairing: Pairing | None = None
    """Pairs of k > 2 responses: ``all``, ``best_worst``, ``adjacent``; None takes the layout's."""
    score_temperature: float | None = None
    """Scores give the soft label sigmoid(difference / temperature); None: the higher one wins."""
    encoding: str = "utf-8"
    """Of texts without a byte order mark, e.g. ``cp1252``."""
    accept: Sequence[str] = ()
    """Signs of a wrong reading that are accepted, see :data:`~rlaif.data.formats.suspicions.SIGNS`."""

    def __post_init__(self) -> None:
        problems = []
        if self.pairing is not None and self.pairing not in PAIRINGS:
            problems.append(f"{self.group}.pairing={self.pairing}: allowed are {', '.join(PAIRINGS)}")
        if self.score_temperature is not None and not 0.0 < self.score_temperature < math.inf:
            problems.append(f"{self.group}.score_temperature={self.score_temperature}: must be a finite number above 0")
        for name in self.accept:
            if name not in SIGNS:
                problems.append(f"{self.group}.accept=[{name}]: unknown; there are {', '.join(SIGNS)}")
        for key, value in (("columns", self.columns), ("where", self.where)):
            if value is not None and not isinstance(value, Mapping):
                problems.append(f"{self.group}.{key}={value!r:.40}: expected names with values")
        try:
            problems += self._unknown_columns()
        except ConfigError as error:
            problems += error.problems
        if problems:
            raise ConfigError(problems)

    @cached_property
    def named(self) -> Layout | None:
        """The layout that is named, with what the other options change; None for ``auto``."""
        name = TABLE if self.format == AUTO and self.preference is not None else self.format
        return None if name == AUTO else self.applied(layout_named(name, f"{self.group}.format"))

    def applied(self, layout: Layout) -> Layout:
        """A layout with the encoding, the conditions and the pairs that these options ask for.

        Raises:
            ConfigError: The layout has no column for the encoding, an option is no path, or would change nothing.
        """
        if self.preference is not None:
            layout = self._with_preference(layout)
        if problems := list(self._without_effect(layout)):
            raise ConfigError(problems)
        try:
            return layout.with_options(where=self.where, pairing=self.pairing, score_temperature=self.score_temperature)
        except ValueError as error:
            raise ConfigError(f"{self.group}.where: {error}") from error

    def renamed(self, row: Row) -> Row:
        """The row under the names that the layout reads."""
        if not self.columns:
            return row
        values = dict(row.values)
        for name, column in self.columns.items():
            if (value := _value_at(column, row.values)) is ABSENT:
                continue
            values[name] = value
            if column not in self.columns and column != name:
                values.pop(column, None)
        return Row(row.place, values)

    def absent_columns(self, rows: Iterable[Row]) -> list[str]:
        """Named columns that none of some rows has: one line each."""
        rows = list(rows)
        known = list(dict.fromkeys(name for row in rows for name in row.values))
        lines = []
        for name, column in (self.columns or {}).items():
            if rows and all(_value_at(column, row.values) is ABSENT for row in rows):
                near = difflib.get_close_matches(column, known, n=1)
                meant = f"did you mean {near[0]}?" if near else f"they have {', '.join(known)}"
                lines.append(f"{self.group}.columns.{name}={column}: no row has this column; {meant}")
        return lines

    def _without_effect(self, layout: Layout) -> Iterator[str]:
        """Options that change nothing in a layout."""
        responses = layout.responses
        if self.pairing not in (None, "all") and responses.each is None and responses.per_row is None:
            yield (
                f"{self.group}.pairing={self.pairing}: has no effect, as {layout.name} names both responses of a pair;"
                " leave it out"
            )
        if self.score_temperature is not None and all(label.kind != "scores" for label in layout.labels):
            yield (
                f"{self.group}.score_temperature={self.score_temperature:g}: has no effect, as labels of {layout.name}"
                " are no scores; leave it out, or read scores by a layout of your own: label: {scores: [path, path]}"
            )

    def _unknown_columns(self) -> list[str]:
        layouts = candidates() if self.named is None else [self.named]
        if not isinstance(self.columns, Mapping):
            return []
        known = frozenset[str]().union(*(layout.columns for layout in layouts))
        unknown = [name for name in self.columns if name not in known]
        there_are = f", there are {', '.join(sorted(known))}" if self.named is not None else "; no layout reads it"
        return [f"{self.group}.columns.{name}: unknown{there_are}" for name in unknown]

    @property
    def identity(self) -> str:
        """Content hash of the options that decide what is read, the layout's own keys apart."""
        names = ("preference", "where", "pairing", "score_temperature", "columns")
        return content_id(*(f"{name}={_plain(getattr(self, name))!r}" for name in names))

    def _with_preference(self, layout: Layout) -> Layout:
        columns = [label.at for label in layout.labels if label.at is not None]
        if not columns:
            raise ConfigError(
                f"{self.group}.preference: only for a layout with one column for the preference, such as"
                f" {self.group}.format={TABLE}; {layout.name} says itself what its labels are"
            )
        at = replace(columns[0], others=(*columns[0].others, *columns[1:]))
        return replace(layout, labels=(label_of_encoding(self.preference, at, f"{self.group}.preference"),))


def _value_at(column: str, values: Mapping[str, Any]) -> Any:
    """What a row has in a column, or where a path leads; ABSENT where there is neither."""
    if column in values:
        return values[column]
    try:
        return path_of(column).value(values)
    except PathError:
        return ABSENT


class PairFile:
    """Records of a file.

    Args:
        path: A file, a folder, a pattern or several, see :class:`~rlaif.data.files.table_files.TableFiles`.
        options: How its rows are read.
        option: Where the path was typed, in the options' group.

    Raises:
        ConfigError: All options that have no such value.
    """

    def __init__(self, path: Typed, options: ReadingOptions, option: str = "path") -> None:
        self.options = options
        self.table = TableFiles(path, f"{options.group}.{option}", self._expected, options.encoding)

    @property
    def group(self) -> str:
        """The config group of the options, for messages."""
        return self.options.group

    @property
    def name(self) -> str:
        """The path as typed, for messages."""
        return self.table.name

    @cached_property
    def layout(self) -> Layout:
        """The layout of the rows.

        Raises:
            DataError: The file cannot be read, or ``auto`` finds no layout for it.
        """
        if self.options.named is not None:
            return self.options.named
        first = list(islice(self._raw_rows(), auto.NUM_ROWS))
        try:
            return self.options.applied(auto.layout_of(first))
        except auto.NoLayoutError as error:
            raise DataError(f"{self.name}: {error}: {self._todo(first)}") from error

    def _todo(self, rows: Sequence[Row]) -> str:
        """What to type for rows that no layout reads."""
        likely = None if self.options.columns else likely_options(rows)
        if likely is not None:
            return f"type {likely.options(self.group)} if that is what they hold, or write a layout as YAML"
        return (
            f"{self.group}.format=NAME, {self.group}.columns to name columns, or a layout of your own as YAML,"
            f" {self.group}.format=my_layout.yaml"
        )

    @cached_property
    def identity(self) -> str:
        """Hash of the content, of the reading options and of the reader's code; not of the file's path."""
        layout = layout_identity(self.layout)
        return content_id(self.table.content_hash, layout, self.options.identity, code_digest([__name__]))

    def read(self) -> Iterator[ReadRow]:
        """What each row became.

        Raises:
            DataError: The file cannot be read, a row lacks a column, or the first rows show signs of a wrong reading.
        """
        rows = self._checked_rows()
        first = list(islice(rows, NUM_ROWS))
        self._check_columns()
        self._check_signs(first)
        for row in LayoutReader(self.layout).read(chain(first, rows)):
            yield row if TIE in self.options.accept else _without_tie(row)

    @cached_property
    def shown(self) -> list[str]:
        """The first three records in words (end of the prompt, preferred response, other response, p), and what is
        not read of the rows."""
        rows = list(islice(self._raw_rows(), NUM_ROWS))
        records = (record for read in LayoutReader(self.layout).read(rows) for record in read.records)
        read = f"read as {self.layout.name}" + (f" ({self.layout.about})" if self.layout.about else "")
        return [read, *map(_in_words, islice(records, NUM_SHOWN)), *unread_lines(self.layout, rows)]

    def _raw_rows(self) -> Iterator[Row]:
        return (self.options.renamed(row) for row in self._file_rows())

    def _file_rows(self) -> Iterator[Row]:
        """The rows under their own names."""
        return self.table.rows()

    def _check_columns(self) -> None:
        if self.options.columns and (absent := self.options.absent_columns(islice(self._file_rows(), NUM_ROWS))):
            raise DataError(f"{self.name}: {'; '.join(absent)}")

    def _checked_rows(self) -> Iterator[Row]:
        layout = self.layout
        for row in self._raw_rows():
            if not all(any(name in row.values for name in group) for group in layout.required):
                raise self._lacking(row)
            yield row

    def _check_signs(self, rows: Sequence[Row]) -> None:
        signs = SignCounter(self.layout, self._undeclared(rows), is_guessed=self.options.named is None)
        signs.renamed = self.options.columns or {}
        for read in LayoutReader(self.layout).read(rows):
            if not isinstance(read.odd, OtherTaskError):  # ``where`` leaves it out
                signs.add(read.values, read.records)
        found = list(signs.found(self.options.accept))
        likely = None if self.options.named or self.options.columns else likely_options(rows[:NUM_FIRST])
        richer = likely is not None and likely.richness > max(1, self.layout.richness)
        if likely and richer and UNREAD not in {*self.options.accept, *(sign.name for sign in found)}:
            found.append(Sign(UNREAD, ", ".join(likely.columns.values())))
        problems = sign_messages(found, self.group)
        if likely and any(sign.name in HINTED or (richer and sign.name in (UNREAD, "unread_label")) for sign in found):
            problems.append(f"to read them, perhaps {likely.options(self.group)}")
        if problems:
            raise DataError(f"{self.name}, read as {self.layout.name}: {'; '.join(problems)}")

    def _undeclared(self, rows: Sequence[Row]) -> str:
        """The layout's name of a preference column whose encoding nobody declared; empty where it is known.

        AlpacaEval's scale begins at 1, so only a 0 in it is a sign.
        """
        if self.options.preference is not None or self.layout.name not in (TABLE, ALPACA_EVAL):
            return ""
        has_zero = any(folded(row.values.get(PREFERENCE)) == "0" for row in rows)
        return PREFERENCE if self.layout.name == TABLE or has_zero else ""

    @property
    def _expected(self) -> str:
        layout = self.options.named
        if layout is None:
            return ""
        keys = ", ".join("|".join(group) for group in layout.required)
        return f"{keys} ({self.group}.format={self.options.format})"

    def _lacking(self, row: Row) -> DataError:
        absent = auto.lacking(self.layout, row)
        has = ", ".join(map(repr, row.values)) or "none"
        return self.table.bad_row(
            row, f"lacks the key {', '.join(map(repr, absent))}; it has {has}{self._hint(absent, row)}"
        )

    def _hint(self, absent: Sequence[str], row: Row) -> str:
        names = [name for key in absent for name in key.split("|")]
        near = [name for key in names for name in difflib.get_close_matches(key, list(row.values), n=1)]
        if set(absent) <= {"|".join(path_of(path).roots) for path in self.options.where or ()}:
            return f" ({self.group}.where asks for it" + (f"; did you mean {near[0]!r}?)" if near else ")")
        if near:
            return f" (did you mean {near[0]!r}?); name other columns with {self.group}.columns"
        others = [layout for layout in candidates() if auto.has_columns(layout, row.values)]
        if others and self.options.format != AUTO:
            best = max(others, key=lambda layout: (layout.richness, len(layout.required)))
            return f" ({self.group}.format={AUTO} or {best.name} would fit)"
        return f"; name other columns with {self.group}.columns"


def _without_tie(row: ReadRow) -> ReadRow:
    """The row; one that says that it is a tie, and was read as a preference, is left out."""
    if not is_undecided_tie(row.values, row.records):
        return row
    return ReadRow(row.place, (), OddRowError("says that it is a tie"), row.values)


def _in_words(record: Record) -> str:
    prompt = f"prompt …{_end(record.prompt)}"
    if isinstance(record, SingleResponse):
        return f"{prompt} | response {_start(record.response)}"
    if not isinstance(record, LabeledPair):
        return prompt
    p_first = record.p_first
    if p_first is None:
        return f"{prompt} | first {_start(record.first)} | second {_start(record.second)} | no label"
    better, other = (record.first, record.second) if p_first >= 0.5 else (record.second, record.first)
    return f"{prompt} | preferred {_start(better)} | other {_start(other)} | p {max(p_first, 1.0 - p_first):g}"


def _start(text: str) -> str:
    shown = " ".join(text.split())
    return repr(shown if len(shown) <= PREVIEW else shown[:PREVIEW] + "…")


def _end(text: str) -> str:
    return repr(" ".join(text.removesuffix("\n\nAssistant:").split())[-PREVIEW:])


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return sorted((str(key), _plain(item)) for key, item in value.items())
    return [_plain(item) for item in value] if isinstance(value, Sequence) and not isinstance(value, str) else value


def layout_guess(path: Typed) -> str | None:
    """Name of the layout that reads a file's first rows; None where there is none, or several differ.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        return auto.layout_of(list(islice(TableFiles(path).rows(), auto.NUM_ROWS))).name
    except auto.NoLayoutError:
        return None
