"""A file of labeled pairs in any known format: what ``data=files`` and ``labeler=file`` read."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import cast

from rlaif import registry
from rlaif.artifacts.fingerprints import code_digest
from rlaif.data.files.paths import Typed
from rlaif.data.files.rows import Row
from rlaif.data.files.table_files import TableFiles
from rlaif.data.formats.base import COLUMNS, LabeledPair, Layout, OddRowError, check_choices, check_pair
from rlaif.data.formats.encodings import decoder
from rlaif.errors import ConfigError, DataError
from rlaif.types import content_id

LAYOUTS = "rlaif.layouts"
"""Entry-point group of the layouts; the value of an entry names a :class:`~rlaif.data.formats.base.Layout`."""


def layout_names() -> tuple[str, ...]:
    """Names of all installed layouts, in alphabetical order; none is imported."""
    return tuple(component.name for component in registry.components(LAYOUTS))


@cache
def layout_named(name: str) -> Layout:
    """The layout of that name, which alone is imported.

    Raises:
        PluginError: It is not installed or cannot be imported.
    """
    return cast(Layout, registry.load(LAYOUTS, name))


def fitting_layouts(values: Mapping[str, object]) -> list[str]:
    """Names of the layouts whose keys a row has, the one that needs the most keys and has the fewest forms first."""
    fits = []
    for name in layout_names():
        keys = layout_named(name).keys
        sizes = [len(needed) for needed in keys if all(key in values for key in needed)]
        if sizes:
            fits.append((-max(sizes), len(keys), name))
    return [name for _, _, name in sorted(fits)]


class PairFile:
    """Rows of a file with the function that reads one.

    Args:
        path: What :class:`~rlaif.data.files.table_files.TableFiles` reads: a file, folder or pattern, or several.
        group: The config group that the options belong to, for messages: ``data``, ``labeler``.
        format: One of :func:`layout_names`.
        columns: Names of the columns of ``format=table`` that differ from :data:`~rlaif.data.formats.base.COLUMNS`.
        preference: How the column ``preference`` of ``format=table`` is encoded, see
            :func:`~rlaif.data.formats.encodings.decoder`.
        encoding: Of texts without a byte order mark.

    Raises:
        ConfigError: All options that have no such value.
    """

    def __init__(
        self,
        path: Typed,
        *,
        group: str,
        format: str,
        columns: Mapping[str, str] | None = None,
        preference: str | Mapping[str, float] = "p_first",
        encoding: str = "utf-8",
    ) -> None:
        check_choices(group, format=(format, layout_names()))
        self.group = group
        self.format_name = format
        self.columns = {**COLUMNS, **(columns or {})}
        self.preference = preference if isinstance(preference, str) else dict(preference)
        self.format = layout_named(format)
        self._check_table_options(columns)
        if self.format.with_columns is not None:
            self.format = self.format.with_columns(self.columns, decoder(self.preference, f"{group}.preference"))
        self.table = TableFiles(path, f"{group}.path", self._expected, encoding)

    @property
    def path(self) -> Typed:
        """The path as typed."""
        return self.table.path

    @property
    def name(self) -> str:
        """The path as typed, for messages."""
        return self.table.name

    @property
    def identity(self) -> str:
        """Hash of the content, of the reading options and of the reader's code; not of the file's path."""
        options = (f"{name}={column}" for name, column in sorted(self.columns.items()))
        return content_id(self.table.content_hash, self.format_name, str(self.preference), self._reader_code, *options)

    @property
    def _reader_code(self) -> str:
        return code_digest([registry.find(LAYOUTS, self.format_name).target.partition(":")[0]])

    def rows(self) -> Iterator[Row]:
        """Rows that have the keys of the format.

        Raises:
            DataError: The file cannot be read, or a row lacks a key.
        """
        for row in self.table.rows():
            self._check_keys(row)
            yield row

    def parse(self, row: Row) -> LabeledPair:
        """Read a row.

        Raises:
            OddRowError: The row cannot be used.
            DataError: It holds something else than the format says.
        """
        try:
            pair = self.format.parse(row.values)
            check_pair(pair)
        except DataError as error:
            raise DataError(f"{self.name}, {row.place}: {error}; correct or delete this row") from error
        return pair

    @property
    def _expected(self) -> str:
        return " or ".join(", ".join(keys) for keys in self.format.keys) + f" ({self.group}.format={self.format_name})"

    def _check_keys(self, row: Row) -> None:
        values = row.values
        if any(all(key in values for key in keys) for keys in self.format.keys):
            return
        nearest = min(self.format.keys, key=lambda keys: sum(key not in values for key in keys))
        absent = [key for key in nearest if key not in values]
        raise self.table.bad_row(
            row,
            f"lacks the key {', '.join(map(repr, absent))}; it has {', '.join(map(repr, values)) or 'none'}"
            f"{self._hint(absent, values)}",
        )

    def _hint(self, absent: Sequence[str], values: Mapping[str, object]) -> str:
        others = [name for name in fitting_layouts(values) if name != self.format_name]
        if others:
            return f" ({self.group}.format={others[0]} would fit)"
        near = [name for key in absent for name in difflib.get_close_matches(key, list(values), n=1)]
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        return f"{hint}; name other columns with {self.group}.columns" if self.format.with_columns is not None else hint

    def _check_table_options(self, columns: Mapping[str, str] | None) -> None:
        problems = [
            f"{self.group}.columns.{name}: unknown, there are {', '.join(COLUMNS)}"
            for name in columns or {}
            if name not in COLUMNS
        ]
        if self.format.with_columns is None:
            given = {"columns": bool(columns), "preference": self.preference != "p_first"}
            problems += [
                f"{self.group}.{name}: only for {self.group}.format=table; {self.format_name} says it itself"
                for name, is_given in given.items()
                if is_given
            ]
        if problems:
            raise ConfigError(problems)


def guess_format(path: Path) -> str | None:
    """The format in which a file's first row reads; None where it has the columns of none.

    Raises:
        DataError: The file cannot be read.
    """
    values = next(TableFiles(path).rows()).values
    names = fitting_layouts(values)
    return next((name for name in names if _reads(name, values)), names[0] if names else None)


def _reads(name: str, values: Mapping[str, object]) -> bool:
    try:
        layout_named(name).parse(values)
    except (OddRowError, DataError):
        return False
    return True
