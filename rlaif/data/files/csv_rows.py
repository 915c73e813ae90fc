"""Rows of tables of text: fields separated by a comma, tab, semicolon, bar or another mark, with a heading."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterator
from itertools import chain
from typing import Literal, NamedTuple

from rlaif.data.files.rows import DataFile, Row

USUAL = (",", "\t", ";", "|")
NUM_SNIFFED = 1 << 16
"""Characters from which the separator is told."""
NO_SEPARATOR = re.compile(r"[\w \"'.()\[\]{}/<>#?!\r\n\-]")
"""Characters that separate no fields: those of names."""


class Separator(NamedTuple):
    """How the fields of a line are told apart."""

    mark: str
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL


def csv_rows(lines: Iterator[str], file: DataFile) -> Iterator[Row]:
    """The rows under a heading; blank lines are none.

    Args:
        lines: All lines of the file, each with its end.
        file: The file.

    Raises:
        DataError: A line has another number of fields than the heading, or its quotes do not close.
    """
    csv.field_size_limit(sys.maxsize)  # the default refuses texts above 128 kB
    sample, size = [], 0
    for line in lines:
        sample.append(line)
        size += len(line)
        if size >= NUM_SNIFFED:
            break
    # Excel writes "sep=;" into the first line, for itself.
    named = re.fullmatch(r"sep=([^\w\s\"']|\t)\s*", sample[0]) if sample else None
    separator = Separator(named[1]) if named else _separator(sample)
    records = _records(chain(sample, lines), separator, file)
    if named:
        next(records)
    yield from _under_heading(records, file)


def _under_heading(records: Iterator[tuple[int, list[str]]], file: DataFile) -> Iterator[Row]:
    first = next(records, None)
    if first is None:
        return
    heading = _without_last_blanks(first[1])
    if twice := sorted({name for name in heading if heading.count(name) > 1}):
        raise file.error(f"the heading names {', '.join(map(repr, twice))} twice; give each column its own name")
    number = None
    for number, fields in records:
        if len(fields) > len(heading):  # a spreadsheet writes empty columns beside a table, too
            fields = fields[: len(heading)] + _without_last_blanks(fields[len(heading) :])
        if len(fields) != len(heading):
            told = f"has {len(fields)} columns, the heading has {len(heading)} ({_shown(heading)})"
            told += "; a text that holds commas stands in quotes" if len(heading) == 1 else ""
            raise file.bad_line(number, told)
        yield Row(file.place(number), dict(zip(heading, fields, strict=True)))
    if number is None:
        raise file.error(f"holds one line ({_shown(heading)}) and no rows under it; {file.expects()}")


def _without_last_blanks(fields: list[str]) -> list[str]:
    """The fields up to the last that is not blank."""
    last = max((place for place, field in enumerate(fields) if field.strip()), default=-1)
    return fields[: last + 1]


def _shown(heading: list[str]) -> str:
    text = ", ".join(heading)
    return repr(text if len(text) <= 80 else f"{text[:80]}…")


def _records(lines: Iterator[str], separator: Separator, file: DataFile) -> Iterator[tuple[int, list[str]]]:
    """Fields of each record that is not blank, with its first line."""
    reader = csv.reader(lines, delimiter=separator.mark, quoting=separator.quoting, strict=True)
    start = 1
    try:
        for fields in reader:
            if fields:
                yield start, fields
            start = reader.line_num + 1
    except csv.Error as error:
        what = f"is not CSV ({error})"
        if "unexpected end of data" in str(error):
            raise file.error(f"{what}: a quote that opens here is not closed up to the end", line=start) from error
        raise file.bad_line(start, what) from error


def _separator(sample: list[str]) -> Separator:
    """The mark under which most records of the sample have as many fields as the heading, two at least.

    A text in one column may hold any mark: one that is not in the heading separates nothing, and one that is not usual
    must be right in every record.
    """
    heading = next((line for line in sample if not line.isspace()), "")
    marks = [mark for mark in USUAL if mark in heading]
    marks += sorted({mark for mark in heading if not NO_SEPARATOR.match(mark)} - set(USUAL))
    ways = [Separator(mark) for mark in marks]
    ways += [Separator("\t", csv.QUOTE_NONE)] if "\t" in marks else []
    shares = [_share(sample, way) for way in ways]
    shares = [share if way.mark in USUAL or share == 1.0 else 0.0 for share, way in zip(shares, ways, strict=True)]
    best = max(shares, default=0.0)
    return ways[shares.index(best)] if best > 0.0 else Separator(",")


def _share(sample: list[str], separator: Separator) -> float:
    """Share of the records that have the heading's number of fields; of a cut last record nothing is held."""
    records = []
    try:
        for fields in csv.reader(sample, delimiter=separator.mark, quoting=separator.quoting, strict=True):
            if fields:
                records.append(len(fields))
    except csv.Error as error:
        records += [] if "unexpected end of data" in str(error) and len(records) > 1 else [-1]
    if len(records) < 2 - (separator.mark in USUAL) or records[0] < 2:
        return 0.0
    return sum(number == records[0] for number in records) / len(records)
