"""Rows of a file of any kind, each with its line or index."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import sys
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from io import BufferedReader
from pathlib import Path
from typing import Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from rlaif.errors import DataError

Kind = Literal["lines", "list", "csv", "parquet"]
KINDS: dict[str, Kind] = {".parquet": "parquet", ".csv": "csv", ".json": "list"}
"""By the end of the name, ``.gz`` taken off; every other name is JSON lines."""
ROWS_AT_ONCE = 1024


class Row(NamedTuple):
    """One raw row and its place in the file."""

    place: str
    """``file:line``, of a Parquet file or JSON list ``file:row``; both count from 1."""
    values: Mapping[str, object]


@dataclass(frozen=True)
class TableFile:
    """JSON lines, a JSON list, CSV with a heading (each gzipped or not), or Parquet.

    Args (fields):
        path: The file.
        option: What the user typed it as, e.g. ``data.path``.
        expected: What a row should hold, for messages.
    """

    path: Path
    option: str = "path"
    expected: str = ""

    @property
    def name(self) -> str:
        """Option and path as typed, for messages."""
        return f"{self.option}={self.path}"

    @property
    def kind(self) -> Kind:
        """Kind of file by its name's ending, ``.gz`` aside; JSON lines where the ending is not known."""
        stem = self.path.name.lower().removesuffix(".gz")
        return KINDS.get(Path(stem).suffix, "lines")

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of the bytes.

        Raises:
            DataError: The file cannot be read.
        """
        with self._open() as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def rows(self) -> Iterator[Row]:
        """The rows in order; blank lines are none.

        Raises:
            DataError: The file is absent, empty, cut, damaged, or a line of it is no row.
        """
        empty = True
        for row in {"lines": self._json_lines, "list": self._json_list, "csv": self._csv, "parquet": self._parquet}[
            self.kind
        ]():
            empty = False
            yield row
        if empty:
            raise DataError(f"{self.name}: the file is empty{self._wanted}")

    def bad_line(self, number: int, what: str) -> DataError:
        """The error of one line, naming it and what is expected."""
        return DataError(f"{self.name}, line {number}: {what}{self._wanted}: correct or delete this line")

    @property
    def _wanted(self) -> str:
        one = {"lines": "one JSON object per line", "list": "a JSON list of objects"}.get(self.kind, "rows")
        return f"; expected {one} with {self.expected}" if self.expected else f"; expected {one}"

    def _place(self, number: int) -> str:
        return f"{self.path.name}:{number}"

    def _json_lines(self) -> Iterator[Row]:
        for number, line in self._lines():
            if line.strip():
                yield Row(self._place(number), self._object(self._parse(self._text(line, number), number), number))

    def _json_list(self) -> Iterator[Row]:
        text = "".join(self._text(line, number) for number, line in self._lines())
        if not text.strip():
            return
        rows = self._parse(text, 1)
        if not isinstance(rows, list):
            raise self.bad_line(1, f"is {text.strip():.30}, no JSON list")
        for number, values in enumerate(rows, 1):
            yield Row(self._place(number), self._object(values, number))

    def _csv(self) -> Iterator[Row]:
        csv.field_size_limit(sys.maxsize)  # the default refuses texts above 128 kB
        reader = csv.DictReader((self._text(line, number) for number, line in self._lines()), strict=True)
        try:
            for values in reader:
                if None in values or None in values.values():
                    raise self.bad_line(
                        reader.line_num, f"has not the {len(reader.fieldnames or ())} columns of the heading"
                    )
                yield Row(self._place(reader.line_num), values)
        except csv.Error as error:
            raise self.bad_line(reader.reader.line_num, f"is not CSV ({error})") from error

    def _parquet(self) -> Iterator[Row]:
        number = 0
        try:
            with self._open() as file, pq.ParquetFile(file) as table:
                for batch in table.iter_batches(ROWS_AT_ONCE):
                    for values in batch.to_pylist():
                        number += 1
                        yield Row(self._place(number), values)
        except (OSError, pa.ArrowException) as error:
            raise DataError(
                f"{self.name}, after row {number}: is not a whole Parquet file ({error}); get it again"
            ) from error

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        number = 0
        with self._open() as raw:
            is_gzip = raw.peek(2)[:2] == b"\x1f\x8b"
            lines = gzip.GzipFile(fileobj=raw) if is_gzip else raw
            try:
                for number, line in enumerate(lines, 1):
                    yield number, line
            except EOFError as error:
                raise DataError(
                    f"{self.name}, line {number + 1}: the gzip file ends here, before its end mark:"
                    " it was not copied or downloaded whole; get it again"
                ) from error
            except (gzip.BadGzipFile, zlib.error) as error:
                raise DataError(
                    f"{self.name}, line {number + 1}: the gzip file is damaged ({error}); get it again"
                ) from error

    def _open(self) -> BufferedReader:
        if self.path.is_dir():
            raise DataError(f"{self.name}: is a directory; give one file (.jsonl, .json, .csv, .parquet; .gz too)")
        try:
            return self.path.open("rb")
        except FileNotFoundError as error:
            raise DataError(
                f"{self.name}: there is no such file; check the path (it starts at the"
                f" directory of the command, {Path.cwd()})"
            ) from error
        except OSError as error:
            raise DataError(f"{self.name}: cannot be read ({error.strerror}); change its permissions") from error

    def _text(self, line: bytes, number: int) -> str:
        try:
            return line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise self.bad_line(number, f"is not UTF-8 (byte {error.start + 1})") from error

    def _parse(self, text: str, number: int) -> object:
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            number = number + error.lineno - 1
            raise self.bad_line(number, f"is not JSON ({error.msg} at column {error.colno})") from error

    def _object(self, values: object, number: int) -> Mapping[str, object]:
        if not isinstance(values, dict):
            raise self.bad_line(number, f"is {json.dumps(values):.30}, no JSON object")
        return values
