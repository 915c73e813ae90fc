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

from rlaif.data.formats.language import PAIRINGS
from rlaif.data.formats.layouts import AUTO
from rlaif.data.formats.pair_files import PairFile, ReadingOptions
from rlaif.data.label_sets.label_table import LabelTable
from rlaif.errors import ConfigError, DataError

UTF_8 = "utf-8"
_COLUMNS = re.compile(r"'labeler\.columns=(\{[^}]*\})'")
_PATH = re.compile(r"(?<![\w./])(labeler\.)?path=")
_ACCEPT = re.compile(r"\blabeler\.accept=\[(\w+)\]")
_WHERE = re.compile(r"\blabeler\.where='(\{[^}]*\})'")
_OPTION = re.compile(
    r"\blabeler\.(format|columns|preference|where|pairing|score_temperature|confidences|encoding|accept)\b"
    r"|\b(encoding)(?==)"
)


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
    one_of = "only rows in which these paths have this value, or one of [A,B]"
    parser.add_argument("--where", nargs="+", default=[], metavar="PATH=VALUE", help=one_of)
    parser.add_argument("--pairing", help=f"pairs of more than two responses: {', '.join(PAIRINGS)}")
    soft = "scores give sigmoid(difference / T) instead of a hard label"
    parser.add_argument("--score-temperature", type=float, metavar="T", help=soft)
    parser.add_argument("--accept", nargs="+", default=[], metavar="SIGN", help="signs of a wrong reading to accept")
    parser.add_argument("--confidences", type=float, nargs="+", default=[], help="only rows with one of these")
    parser.add_argument("--encoding", default=UTF_8, help="of texts, e.g. cp1252 (default: utf-8)")


def reading_options(arguments: argparse.Namespace) -> list[str]:
    """The options of :func:`add_reading` that were typed, the format apart, and who gave the labels."""
    names = ("columns", "preference", "where", "pairing", "score_temperature", "accept", "confidences", "source")
    typed = [f"--{name.replace('_', '-')}" for name in names if getattr(arguments, name, None)]
    return typed + (["--encoding"] if arguments.encoding != UTF_8 else [])


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
            where=_where(arguments.where),
            pairing=arguments.pairing,
            score_temperature=arguments.score_temperature,
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
    text = _COLUMNS.sub(lambda found: _typed("--columns", found[1]), text)
    text = _WHERE.sub(lambda found: _typed("--where", found[1]), _ACCEPT.sub(r"--accept \1", text))
    return _OPTION.sub(lambda found: f"--{found[1] or found[2]}".replace("_", "-"), _PATH.sub("", text))


def _typed(option: str, mapping: str) -> str:
    """``{prompt: question}`` as this command takes it."""
    words = ((name, value if isinstance(value, str) else json.dumps(value)) for name, value in _flow(mapping).items())
    return shlex.join([option, *(f"{name}={value}" for name, value in words)])


def _flow(text: str) -> Any:
    """A value of YAML; a text that is none stands for itself."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _columns(items: Sequence[str]) -> dict[str, str]:
    return _pairs("--columns", items, "NAME=COLUMN, e.g. prompt=question")


def _where(items: Sequence[str]) -> dict[str, Any] | None:
    found = _pairs("--where", items, "PATH=VALUE, e.g. split=[valid1,valid2]")
    return {path: _flow(value) for path, value in found.items()} or None


def _pairs(option: str, items: Sequence[str], form: str) -> dict[str, str]:
    problems = [f"{option} {item}: write {form}" for item in items if "=" not in item]
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
