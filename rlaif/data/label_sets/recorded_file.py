"""Rows of recorded verdicts: some of a file's rows, with texts of another file where the rows hold none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rlaif.data.formats.base import LabeledPair, OddRowError
from rlaif.data.formats.pair_files import PairFile
from rlaif.data.formats.table_files import Row, TableFile
from rlaif.data.label_sets.inspect_logs import InspectLog, is_inspect_log
from rlaif.errors import ConfigError, DataError
from rlaif.types import content_id

NUM_VALUES = 8
"""Values of a column that an error lists."""
TEXTS = ("prompt", "first", "second")


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Which rows of a file are read, and where their texts stand.

    Args (fields):
        where: A column to its value, or to several of which one must stand there; texts are compared without case.
        key: The column that names a pair in both files; None where the rows hold their texts.
        pairs: The file with the texts, read only with a ``key``.
    """

    where: Mapping[str, object] | None = None
    key: str | None = None
    pairs: str | Path | None = None


class RecordedFile(PairFile):
    """A file of verdicts, or a log of inspect_ai, as rows of labeled pairs.

    Args:
        path: As of :class:`PairFile`, or a log of inspect_ai as JSON.
        group: The config group that the options belong to, for messages.
        format: As of :class:`PairFile`.
        columns: Likewise.
        preference: Likewise.
        chosen: Which rows are read, and the file that holds their texts.

    Raises:
        ConfigError: All options that have no such value.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        group: str,
        format: str,
        columns: Mapping[str, str] | None = None,
        preference: str | Mapping[str, float] = "p_first",
        chosen: Chosen | None = None,
    ) -> None:
        super().__init__(path, group=group, format=format, columns=columns, preference=preference)
        self.chosen = chosen or Chosen()
        if self.chosen.key is not None and not self.chosen.pairs:
            raise ConfigError(
                f"{group}.key={self.chosen.key}: the rows name their pair, so say which file holds the texts: "
                f"{group}.pairs=PAIRS.parquet"
            )
        if self.chosen.key is not None and self.format.with_columns is None:
            raise ConfigError(f"{group}.key={self.chosen.key}: only for {group}.format=table")

    @property
    def identity(self) -> str:
        """As of :class:`PairFile`, with the chosen rows and the content of the file that holds the texts."""
        where = (f"{column}={value}" for column, value in sorted((self.chosen.where or {}).items()))
        texts = "" if self.chosen.key is None else self._pairs.content_hash
        return content_id(super().identity, self.chosen.key or "", texts, *where)

    def rows(self) -> Iterator[Row]:
        """Rows of the chosen values, with their texts.

        Raises:
            DataError: The file cannot be read, a row lacks a key, or no row has the chosen values.
        """
        seen: dict[str, dict[str, None]] = {column: {} for column in self.chosen.where or {}}
        empty = True
        for row in self._raw():
            joined = self._with_texts(row)
            if joined is not None and not self._is_chosen(joined.values, seen):
                continue
            empty = False
            if joined is not None:
                self._check_keys(joined)
            yield joined or row
        if empty:
            raise DataError(f"{self.name}: {self._no_row(seen)}")

    def parse(self, row: Row) -> LabeledPair:
        """As of :class:`PairFile`; a row that names a pair which the other file lacks is odd."""
        key = self.chosen.key
        if key is not None and _name(row.values.get(key)) not in self._texts:
            raise OddRowError("unknown pair", f"{key}={row.values.get(key)!r:.40} is not in {self._pairs.name}")
        return super().parse(row)

    def _raw(self) -> Iterator[Row]:
        if is_inspect_log(self.table):
            return InspectLog(self.table).rows()
        return self.table.rows()

    def _with_texts(self, row: Row) -> Row | None:
        """The row with the texts of its pair; None where the other file lacks the pair."""
        key = self.chosen.key
        if key is None:
            return row
        if key not in row.values:
            raise DataError(
                f"{self.name}, {row.place}: lacks {self.group}.key={key}; it has {', '.join(row.values) or 'nothing'}"
            )
        pair = self._texts.get(_name(row.values[key]))
        if pair is None:
            return None
        texts = {self.columns[name]: pair[self.columns[name]] for name in TEXTS}
        return Row(row.place, {**pair, **row.values, **texts})

    @property
    def _pairs(self) -> TableFile:
        return TableFile(Path(str(self.chosen.pairs)).expanduser(), option=f"{self.group}.pairs")

    @cached_property
    def _texts(self) -> dict[str, Mapping[str, object]]:
        """The rows of the other file by their key."""
        found: dict[str, Mapping[str, object]] = {}
        needed = [str(self.chosen.key), *(self.columns[name] for name in TEXTS)]
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

    def _is_chosen(self, values: Mapping[str, object], seen: dict[str, dict[str, None]]) -> bool:
        for column, cells in seen.items():
            if column in values and len(cells) <= NUM_VALUES:
                cells.setdefault(str(values[column]))
        return all(
            column in values and any(_equal(values[column], one) for one in _several(value))
            for column, value in (self.chosen.where or {}).items()
        )

    def _no_row(self, seen: Mapping[str, Mapping[str, None]]) -> str:
        told = [
            f"{self.group}.where.{column}={(self.chosen.where or {})[column]}: "
            + (f"the column holds {', '.join(list(cells)[:NUM_VALUES])}" if cells else "no row has this column")
            + (", …" if len(cells) > NUM_VALUES else "")
            for column, cells in seen.items()
        ]
        return f"no row has the chosen values ({'; '.join(told)})"


def _several(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _name(value: object) -> str:
    """A key as text, so that 7 of one file and "7" of the other are the same."""
    return str(value).strip()


def _equal(cell: object, wanted: object) -> bool:
    """True where both are the same text without case, or the same number."""
    if cell is None or wanted is None:
        return cell is wanted
    one, other = str(cell).strip().casefold(), str(wanted).strip().casefold()
    try:
        return one == other or float(one) == float(other)
    except ValueError:
        return False
