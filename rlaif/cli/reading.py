"""Options of ``rlaif-labels`` that say how a file of labels reads, and the reading."""

from __future__ import annotations

import argparse
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from rlaif.data.formats.layouts import AUTO
from rlaif.data.formats.pair_files import PairFile, ReadingOptions
from rlaif.data.label_sets.label_table import LabelTable
from rlaif.errors import ConfigError, DataError

_COLUMNS = re.compile(r"'labeler\.columns=(\{[^}]*\})'")
_PATH = re.compile(r"(^|\n)(labeler\.)?path=")
_OPTION = re.compile(r"\blabeler\.(format|columns|preference|confidences|encoding|accept)\b|\b(encoding)(?==)")


def add_reading(parser: argparse.ArgumentParser, *, reads_tables: bool) -> None:
    """Add the options.

    Args:
        parser: Of the command.
        reads_tables: True for a command that reads label tables too: a format then means that the file is none.
    """
    default = None if reads_tables else AUTO
    parser.add_argument("--format", default=default, help="layout of the rows: a name, a YAML file, or auto (default)")
    named = "the file's columns, by the names that the layout reads"
    parser.add_argument("--columns", nargs="+", default=[], metavar="NAME=COLUMN", help=named)
    parser.add_argument("--preference", help="encoding of the preference column, or its words as JSON")
    parser.add_argument("--accept", nargs="+", default=[], metavar="SIGN", help="signs of a wrong reading to accept")
    parser.add_argument("--confidences", type=float, nargs="+", default=[], help="only rows with one of these")
    parser.add_argument("--encoding", default="utf-8", help="of texts, e.g. cp1252 (default: utf-8)")


def read_labels(arguments: argparse.Namespace, path: Path) -> LabelTable:
    """Read a file of labels as the options say.

    Raises:
        ConfigError: An option has no such value.
        DataError: The file cannot be read.
    """
    with _as_this_command():
        file = pair_file(arguments, path)
        return LabelTable(file, confidences=arguments.confidences, keep_pairs=True)


def pair_file(arguments: argparse.Namespace, path: Path) -> PairFile:
    """A file of labels, to be read as the options say.

    Raises:
        ConfigError: An option has no such value.
    """
    with _as_this_command():
        options = ReadingOptions(
            group="labeler",
            format=arguments.format,
            columns=_columns(arguments.columns),
            preference=_preference(arguments.preference),
            accept=arguments.accept,
            encoding=arguments.encoding,
        )
        return PairFile(path, options)


@contextmanager
def _as_this_command() -> Iterator[None]:
    """Errors name the options of this command."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError([as_typed(problem) for problem in error.problems]) from error
    except DataError as error:
        raise DataError(as_typed(str(error))) from error


def as_typed(text: str) -> str:
    """The command's own options instead of those of a configuration."""
    text = _COLUMNS.sub(lambda found: _typed_columns(found[1]), text)
    return _OPTION.sub(r"--\1\2", _PATH.sub(r"\1", text))


def _typed_columns(mapping: str) -> str:
    """``{prompt: question}`` as this command takes it."""
    names = yaml.safe_load(mapping)
    return shlex.join(["--columns", *(f"{name}={column}" for name, column in names.items())])


def _columns(items: Sequence[str]) -> dict[str, str]:
    problems = [f"--columns {item}: write NAME=COLUMN, e.g. prompt=question" for item in items if "=" not in item]
    if problems:
        raise ConfigError(problems)
    return dict(item.split("=", 1) for item in items)


def _preference(text: str | None) -> Any:
    if text is None or not text.lstrip().startswith(("{", "[")):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"--preference={text:.80}: is not JSON ({error}); write the column's words with their P(first is better),"
            ' e.g. {"left": 1, "right": 0, "same": 0.5}'
        ) from error
