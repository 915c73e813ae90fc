"""A file of labeled pairs in any known format: what ``data=files`` and ``labeler=file`` read."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from rlaif.data.formats.encodings import decoder
from rlaif.data.formats.layouts import (
    COLUMNS,
    OPTIONAL_COLUMNS,
    LabeledPair,
    OddRowError,
    parse_alpaca_eval,
    parse_chosen_rejected,
    parse_distilabel,
    parse_hh,
    parse_table,
    parse_tldr,
)
from rlaif.data.formats.tables import Row, TableFile
from rlaif.errors import ConfigError, DataError
from rlaif.types import content_id

FormatName = Literal["hh", "table", "chosen_rejected", "alpaca_eval", "tldr_comparisons", "distilabel"]
KeySets = tuple[tuple[str, ...], ...]


class PairFormat(NamedTuple):
    """How a row is read."""

    parse: Callable[[Mapping[str, object]], LabeledPair]
    keys: KeySets
    """What it needs: one of these sets."""
    has_confidence: bool = False


FORMATS: dict[str, PairFormat] = {
    "hh": PairFormat(parse_hh, (("chosen", "rejected"),)),
    "table": PairFormat(parse_table, (tuple(COLUMNS[name] for name in COLUMNS if name not in OPTIONAL_COLUMNS),), True),
    "chosen_rejected": PairFormat(parse_chosen_rejected, (("prompt", "chosen", "rejected"), ("chosen", "rejected"))),
    "alpaca_eval": PairFormat(
        parse_alpaca_eval,
        (
            ("instruction", "output_1", "output_2", "preference"),
            ("instruction", "output_1", "output_2", "p_output_2_preferred"),
        ),
    ),
    "tldr_comparisons": PairFormat(parse_tldr, (("info", "summaries", "choice"),), True),
    "distilabel": PairFormat(parse_distilabel, (("instruction", "generations", "ratings"),)),
}


class PairFile:
    """Rows of a file with the function that reads one.

    Args:
        path: JSON lines, a JSON list, CSV or Parquet.
        group: The config group that the options belong to, for messages: ``data``, ``labeler``.
        format: One of :data:`FORMATS`.
        columns: Names of the columns of ``format=table`` that differ from :data:`~rlaif.data.formats.layouts.COLUMNS`.
        preference: How the column ``preference`` of ``format=table`` is encoded, see
            :func:`~rlaif.data.formats.encodings.decoder`.

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
    ) -> None:
        check_choices(group, format=(format, tuple(FORMATS)))
        self.group = group
        self.format_name = format
        self.columns = {**COLUMNS, **(columns or {})}
        self.preference = preference if isinstance(preference, str) else dict(preference)
        self._check_table_options(columns)
        self.format = FORMATS[format]
        if format == "table":
            parse = partial(
                parse_table, columns=self.columns, decode=decoder(self.preference, f"{self.group}.preference")
            )
            keys = tuple(self.columns[name] for name in COLUMNS if name not in OPTIONAL_COLUMNS)
            self.format = PairFormat(parse, (keys,), True)
        self.table = TableFile(Path(path).expanduser(), option=f"{group}.path", expected=self._expected)

    @property
    def path(self) -> Path:
        return self.table.path

    @property
    def name(self) -> str:
        """The path as typed, for messages."""
        return self.table.name

    @property
    def identity(self) -> str:
        """Hash of the content and of how it is read; not of where the file lies."""
        options = (f"{name}={column}" for name, column in sorted(self.columns.items()))
        return content_id(self.table.content_hash, self.format_name, str(self.preference), *options)

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
        number = int(row.place.rpartition(":")[2])
        raise self.table.bad_line(
            number,
            f"lacks the key {', '.join(map(repr, absent))}; it has {', '.join(map(repr, values)) or 'none'}"
            f"{self._hint(absent, values)}",
        )

    def _hint(self, absent: Sequence[str], values: Mapping[str, object]) -> str:
        for name, format in FORMATS.items():
            if name != self.format_name and any(all(key in values for key in keys) for keys in format.keys):
                return f" ({self.group}.format={name} would fit)"
        near = [name for key in absent for name in difflib.get_close_matches(key, list(values), n=1)]
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        return f"{hint}; name other columns with {self.group}.columns" if self.format_name == "table" else hint

    def _check_table_options(self, columns: Mapping[str, str] | None) -> None:
        problems = [
            f"{self.group}.columns.{name}: unknown, there are {', '.join(COLUMNS)}"
            for name in columns or {}
            if name not in COLUMNS
        ]
        if self.format_name != "table":
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
    values = next(TableFile(path).rows()).values
    fits = {
        name: max(map(len, fitting))
        for name, format in FORMATS.items()
        if (fitting := [keys for keys in format.keys if all(key in values for key in keys)])
    }
    names = sorted(fits, key=lambda name: -fits[name])
    return next((name for name in names if _reads(name, values)), names[0] if names else None)


def _reads(name: str, values: Mapping[str, object]) -> bool:
    try:
        FORMATS[name].parse(values)
    except (OddRowError, DataError):
        return False
    return True


def check_pair(pair: LabeledPair) -> None:
    """What no reader can use.

    Raises:
        OddRowError: A text is not Unicode, or both responses are the same.
    """
    for text in (pair.prompt, pair.first, pair.second):
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise OddRowError("broken Unicode")
    if pair.first.strip() == pair.second.strip():
        raise OddRowError("equal responses")


def check_choices(group: str, **choices: tuple[str, tuple[str, ...]]) -> None:
    """Check options that take one of a few words.

    Raises:
        ConfigError: All options with another value, each with what is allowed.
    """
    problems = [
        f"{group}.{name}={value}: allowed are {', '.join(allowed)}"
        for name, (value, allowed) in choices.items()
        if value not in allowed
    ]
    if problems:
        raise ConfigError(problems)
