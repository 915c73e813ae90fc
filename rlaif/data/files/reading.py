"""The rows of one file: what kind it is, told by its content, and the reader of that kind."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from rlaif.data.files.archives import ZIP_MAGIC, Stream, compression_of, opened
from rlaif.data.files.arrow_rows import arrow_kind, arrow_rows
from rlaif.data.files.csv_rows import csv_rows
from rlaif.data.files.json_rows import ONE_PER_LINE, json_rows
from rlaif.data.files.rows import DataFile, Row
from rlaif.data.files.signatures import foreign_kind
from rlaif.data.files.text import lines_of

JSON_NAMES = (".json", ".jsonl", ".ndjson")


def rows_of(file: DataFile) -> Iterator[Row]:
    """The rows of a file of any kind.

    Raises:
        DataError: It is no file of rows, is cut or damaged, or a line of it is no row.
    """
    with opened(file) as (stream, file):
        if stream.head.startswith(ZIP_MAGIC) or compression_of(stream.head):
            raise file.error("is an archive inside an archive; unpack it")
        if told := foreign_kind(stream.head):
            raise file.error(told)
        if kind := arrow_kind(stream.head):
            if file.part:
                raise file.error(f"is a {kind} file, which has no part {file.part!r}; give the path of the file alone")
            yield from arrow_rows(kind, stream, file, is_plain=not stream.kind)
            return
        yield from _text_rows(stream, file)


def _text_rows(stream: Stream, file: DataFile) -> Iterator[Row]:
    lines = lines_of(stream, file)
    blank = []
    for line in lines:
        if not line.isspace():
            break
        blank.append(line)
    else:
        raise file.error(f"the file is empty; {file.expects()}")
    whole = chain([*blank, line], lines)
    if line.lstrip()[0] in "[{":
        yield from json_rows(whole, file)
        return
    rows = csv_rows(whole, file)
    if file.path.name.lower().endswith(JSON_NAMES):
        rows = _rows_named_json(rows, line, len(blank) + 1, file)
    yield from rows


def _rows_named_json(rows: Iterator[Row], line: str, number: int, file: DataFile) -> Iterator[Row]:
    """A table that was named as JSON is read when it has columns; a line of another kind is told as that."""
    first = next(rows, None) if any(mark in line for mark in ",;\t|") and line[0] not in "\"'" else None
    if first is None or len(first.values) < 2:
        raise file.bad_line(number, f"is {line.strip()!r:.40}, not JSON", ONE_PER_LINE)
    return chain([first], rows)
