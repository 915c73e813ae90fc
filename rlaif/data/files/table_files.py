"""Rows of one or several files of any kind, as one table."""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rlaif.data.files.paths import Found, Typed, found_files
from rlaif.data.files.reading import rows_of
from rlaif.data.files.rows import DataFile, Row
from rlaif.data.files.text import check_encoding
from rlaif.errors import DataError


@dataclass(frozen=True)
class TableFiles:
    """The rows that a path means: see :func:`~rlaif.data.files.paths.found_files` for what a path can be.

    Kinds of file are told by content: JSON lines, a JSON list or document, tables with a heading and any separator,
    Parquet, Arrow; each also as gz, xz, zst, bz2, lz4 or in a zip archive.

    Args (fields):
        path: As typed; a list of several.
        option: What the user typed it as, e.g. ``data.path``.
        expected: What a row should hold, for messages.
        encoding: Of texts without a byte order mark.
        encoding_option: What the encoding is typed as; None puts ``encoding`` in the option's group.
    """

    path: Typed
    option: str = "path"
    expected: str = ""
    encoding: str = "utf-8"
    encoding_option: str | None = None

    def __post_init__(self) -> None:
        check_encoding(self._encoding_option, self.encoding)

    @property
    def name(self) -> str:
        """Option and path as typed, for messages."""
        if isinstance(self.path, str | Path):
            return f"{self.option}={self.path}"
        return f"{self.option}=[{','.join(map(str, self.path))}]"

    @cached_property
    def files(self) -> tuple[DataFile, ...]:
        """The files in the order in which their rows come.

        Raises:
            DataError: There are none, or the path means several tables.
        """
        found = found_files(self.path, self.option)
        labels = _labels(found)
        return tuple(
            DataFile(
                path=one.path,
                name=one.name,
                label=label,
                part=one.part,
                encoding=self.encoding,
                encoding_option=self._encoding_option,
                expected=self.expected,
            )
            for one, label in zip(found, labels, strict=True)
        )

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of the files' bytes in their order, and of the encoding and parts where they are not the usual ones.

        Raises:
            DataError: A file cannot be read.
        """
        digests = [_digest(file) for file in self.files]
        parts = [file.part for file in self.files]
        encoding = codecs.lookup(self.encoding).name
        if len(digests) == 1 and not any(parts) and encoding == "utf-8":
            return digests[0]
        return hashlib.sha256(repr((digests, parts, encoding)).encode()).hexdigest()

    def rows(self) -> Iterator[Row]:
        """The rows in order; blank lines are none.

        Raises:
            DataError: A file is absent, empty, cut, damaged or of another kind, or a line of it is no row.
        """
        empty = True
        for file in self.files:
            for row in rows_of(file):
                empty = False
                yield row
        if empty:
            raise DataError(f"{self.name}: holds no row; {self.files[0].expects()}")

    def bad_line(self, number: int, what: str) -> DataError:
        """The error of one line or row of a path that is one file, with what is expected."""
        return DataError(f"{self.name}, line {number}: {what}; {self.files[0].expects()}")

    def bad_row(self, row: Row, what: str) -> DataError:
        """The error of one row, naming its place and what is expected."""
        wanted = f"; {self.files[0].expects()}" if self.expected else ""
        return DataError(f"{self.name}, {row.place}: {what}{wanted}")

    @property
    def _encoding_option(self) -> str:
        group, point, _ = self.option.rpartition(".")
        return self.encoding_option or f"{group}{point}encoding"


def _labels(found: Sequence[Found]) -> list[str]:
    """Names of the files in places: with their folders where several files have one name."""
    names = [one.path.name for one in found]
    if len(set(names)) == len(names):
        return names
    return [one.path.as_posix() for one in found]


def _digest(file: DataFile) -> str:
    try:
        with file.path.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise file.error(f"cannot be read ({error.strerror}); change its permissions") from error
