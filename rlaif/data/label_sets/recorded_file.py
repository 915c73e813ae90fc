"""Rows of recorded verdicts, with texts of another file where the rows hold none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property

from rlaif.data.files.paths import Typed
from rlaif.data.files.rows import Row
from rlaif.data.files.table_files import TableFiles
from rlaif.data.formats.base import OddRowError, ReadRow
from rlaif.data.formats.layouts import AUTO
from rlaif.data.formats.pair_files import TABLE, PairFile, ReadingOptions
from rlaif.data.label_sets.inspect_logs import InspectLog, is_inspect_log
from rlaif.errors import ConfigError, DataError
from rlaif.types import content_id

TEXTS = ("prompt", "first", "second")


class RecordedFile(PairFile):
    """A file of verdicts, or a log of inspect_ai, as rows of labeled pairs.

    Args:
        path: As of :class:`PairFile`, or a log of inspect_ai as JSON.
        options: As of :class:`PairFile`.
        key: The column that names a pair in both files; None where the rows hold their texts.
        pairs: The file with the texts, read only with a ``key``.

    Raises:
        ConfigError: All options that have no such value.
    """

    def __init__(
        self, path: Typed, options: ReadingOptions, *, key: str | None = None, pairs: Typed | None = None
    ) -> None:
        group = options.group
        if key is not None and options.format == AUTO:
            options = replace(options, format=TABLE)
        super().__init__(path, options)
        self.key = key
        self.pairs = pairs
        if key is not None and not pairs:
            raise ConfigError(
                f"{group}.key={key}: the rows name their pair, so say which file holds the texts: "
                f"{group}.pairs=PAIRS.parquet"
            )
        if key is not None and options.format != TABLE:
            raise ConfigError(f"{group}.key={key}: only for {group}.format=table")

    @cached_property
    def identity(self) -> str:
        """As of :class:`PairFile`, with the content of the file that holds the texts."""
        texts = "" if self.key is None else self._pairs.content_hash
        return content_id(super().identity, self.key or "", texts)

    def read(self) -> Iterator[ReadRow]:
        """As of :class:`PairFile`; a row that names a pair which the other file lacks is odd."""
        for row in super().read():
            if self.key is None or _name(row.values.get(self.key)) in self._texts:
                yield row
                continue
            named = row.values.get(self.key)
            odd = OddRowError("unknown pair", f"{self.key}={named!r:.40} is not in {self._pairs.name}")
            yield ReadRow(row.place, (), odd, row.values)

    def _file_rows(self) -> Iterator[Row]:
        rows = InspectLog(self.table).rows() if is_inspect_log(self.table) else self.table.rows()
        return map(self._with_texts, rows)

    def _with_texts(self, row: Row) -> Row:
        """The row with the texts of its pair; with none where the other file lacks the pair."""
        if self.key is None:
            return row
        if self.key not in row.values:
            raise DataError(
                f"{self.name}, {row.place}: lacks {self.group}.key={self.key};"
                f" it has {', '.join(row.values) or 'nothing'}"
            )
        pair = self._texts.get(_name(row.values[self.key]), {})
        texts = {column: pair.get(column) for column in self._text_columns}
        return Row(row.place, {**pair, **row.values, **texts})

    @property
    def _text_columns(self) -> list[str]:
        return [(self.options.columns or {}).get(name, name) for name in TEXTS]

    @cached_property
    def _pairs(self) -> TableFiles:
        assert self.pairs is not None
        return TableFiles(self.pairs, f"{self.group}.pairs", "", self.options.encoding)

    @cached_property
    def _texts(self) -> dict[str, Mapping[str, object]]:
        """The rows of the other file by their key."""
        found: dict[str, Mapping[str, object]] = {}
        needed = [str(self.key), *self._text_columns]
        for row in self._pairs.rows():
            absent = [column for column in needed if column not in row.values]
            if absent:
                raise DataError(
                    f"{self._pairs.name}, {row.place}: lacks {', '.join(absent)}; it has {', '.join(row.values)}; name "
                    f"other columns with {self.group}.columns, and the one that names a pair with {self.group}.key"
                )
            name = _name(row.values[needed[0]])
            if any(found.get(name, row.values)[column] != row.values[column] for column in needed[1:]):
                raise DataError(
                    f"{self._pairs.name}, {row.place}: {needed[0]}={name} names two pairs; correct one of them"
                )
            found[name] = row.values
        return found


def _name(value: object) -> str:
    """A key as text, so that 7 of one file and "7" of the other are the same."""
    return str(value).strip()
