"""Options of ``rlaif-labels`` that say how a file of labels reads, and the reading."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path

from rlaif.data.formats.pair_files import PairFile, layout_names
from rlaif.data.label_sets.label_table import LabelTable
from rlaif.errors import ConfigError, DataError

_PATH = re.compile(r"(^|\n)(labeler\.)?path=")
_OPTION = re.compile(r"\blabeler\.(format|columns|preference|confidences|encoding)\b|\b(encoding)(?==)")


def add_reading(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Add the options; a command that reads label tables too does not require ``--format``."""
    parser.add_argument("--format", required=required, choices=layout_names(), help="how a row reads")
    parser.add_argument("--columns", nargs="+", default=[], metavar="NAME=COLUMN", help="of --format table")
    parser.add_argument("--preference", default="p_first", help="of --format table: encoding, or words as JSON")
    parser.add_argument("--confidences", type=float, nargs="+", default=[], help="only rows with one of these")
    parser.add_argument("--encoding", default="utf-8", help="of texts, e.g. cp1252 (default: utf-8)")


def read_labels(arguments: argparse.Namespace, path: Path) -> LabelTable:
    """Read a file of labels as the options say.

    Raises:
        ConfigError: An option has no such value.
        DataError: The file cannot be read.
    """
    try:
        file = PairFile(
            path,
            group="labeler",
            format=arguments.format,
            columns=_columns(arguments.columns),
            preference=_preference(arguments.preference),
            encoding=arguments.encoding,
        )
        return LabelTable(file, confidences=arguments.confidences, keep_pairs=True)
    except ConfigError as error:
        raise ConfigError([as_typed(problem) for problem in error.problems]) from error
    except DataError as error:
        raise DataError(as_typed(str(error))) from error


def as_typed(text: str) -> str:
    """The command's own options instead of those of a configuration."""
    return _OPTION.sub(r"--\1\2", _PATH.sub(r"\1", text))


def _columns(items: Sequence[str]) -> dict[str, str]:
    problems = [f"--columns {item}: write NAME=COLUMN, e.g. prompt=question" for item in items if "=" not in item]
    if problems:
        raise ConfigError(problems)
    return dict(item.split("=", 1) for item in items)


def _preference(text: str) -> str | dict[str, float]:
    if not text.lstrip().startswith("{"):
        return text
    example = 'write the column\'s words with their P(first is better), e.g. {"left": 1, "right": 0, "same": 0.5}'
    try:
        words = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"--preference={text:.80}: is not JSON ({error}); {example}") from error
    problems = [
        f"--preference={text:.80}: {word!r} has {json.dumps(value):.30}, no number from 0 to 1; {example}"
        for word, value in words.items()
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1
    ]
    if problems:
        raise ConfigError(problems)
    return {word: float(value) for word, value in words.items()}
