"""Rows of JSON: one object per line, a list, or a document that holds the rows in one of the known shapes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import chain

from rlaif.data.files.documents import ShapeError, rows_of_document
from rlaif.data.files.json_texts import JsonError, parse, parse_all
from rlaif.data.files.rows import DataFile, Row

ONE_PER_LINE = "one JSON object per line"
LIST = "a JSON list of objects"
CUT = "the file ends in the middle of a value: it was not copied or written whole; get it again"


def json_rows(lines: Iterator[str], file: DataFile) -> Iterator[Row]:
    """The rows, line by line where the first line is a whole object and more lines follow.

    Args:
        lines: All lines of the file, each with its end.
        file: The file.

    Raises:
        DataError: A line is no JSON object, or the document holds no rows.
    """
    numbered = ((number, line) for number, line in enumerate(lines, 1) if not line.isspace())
    head = next(numbered, None)
    if head is None:
        return
    second = next(numbered, None) if _is_whole_object(head[1]) else None
    if second is not None and not file.part:
        for number, line in chain([head, second], numbered):
            yield Row(file.place(number), _object(_line_value(line, number, file), number, file))
        return
    read = [head, second] if second is not None else [head]
    yield from _document_rows(chain(read, numbered), file)


def _is_whole_object(line: str) -> bool:
    """Whether reading goes line by line; a line that is wrong in its middle is told as that line."""
    if not line.lstrip().startswith("{"):
        return False
    try:
        parse(line)
    except JsonError as error:
        return not error.is_cut and "Extra data" not in error.what
    return True


def _line_value(line: str, number: int, file: DataFile) -> object:
    try:
        return parse(line)
    except JsonError as error:
        if error.is_cut and not line.endswith(("\n", "\r")):
            raise file.error(f"{error.what}; {CUT}", line=number) from error
        raise file.bad_line(number, error.what, ONE_PER_LINE) from error


def _object(value: object, number: int, file: DataFile) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise file.bad_line(number, f"is {json.dumps(value):.30}, no JSON object", ONE_PER_LINE)
    return value


def _document_rows(numbered: Iterator[tuple[int, str]], file: DataFile) -> Iterator[Row]:
    """Rows of a whole text: one document, or objects one after the other."""
    pieces = list(numbered)
    values = _values(_with_blank_lines(pieces), pieces[0][0], file)
    if len(values) > 1:
        if file.part:
            raise file.error(f"holds {len(values):,} objects, one after the other, and no key {file.part!r}")
        for line, value in values:
            yield Row(file.place(line), _object(value, line, file))
        return
    try:
        rows = rows_of_document(values[0][1], file.part)
    except ShapeError as error:
        raise file.error(f"{error}; {file.expects(LIST)}") from error
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise file.error(f"row {number} is {json.dumps(row):.30}, no JSON object; {file.expects(LIST)}")
        yield Row(file.place(number), row)


def _with_blank_lines(pieces: list[tuple[int, str]]) -> str:
    """The lines as one text, the blank ones between them put back, so that its lines count as in the file."""
    parts, last = [], pieces[0][0] - 1
    for number, line in pieces:
        parts.append("\n" * (number - last - 1) + line)
        last = number
    return "".join(parts)


def _values(text: str, first_line: int, file: DataFile) -> list[tuple[int, object]]:
    values: list[tuple[int, object]] = []
    line, counted = first_line, 0
    try:
        for position, value in parse_all(text):
            line, counted = line + text.count("\n", counted, position), position
            values.append((line, value))
    except JsonError as error:
        line += text.count("\n", counted, error.position)
        if error.is_cut:
            raise file.error(f"{error.what}; {CUT}", line=line) from error
        raise file.bad_line(line, error.what, LIST) from error
    return values
