"""``rlaif-labels``: look at labels, take them to other tools, bring them back, mix them."""

from __future__ import annotations

import argparse
import io
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from rlaif.cli.messages import report_error
from rlaif.cli.pipes import ignore_closed_pipes
from rlaif.cli.reading import add_reading, as_typed, pair_file, read_labels, reading_options
from rlaif.cli.threads import let_waiting_threads_sleep
from rlaif.cli.writing import writing
from rlaif.config.run_directory import CONFIG
from rlaif.data.formats.layouts import AUTO, layout_names
from rlaif.data.formats.pair_files import PairFile, layout_guess
from rlaif.data.label_sets.cards import Card
from rlaif.data.label_sets.data_set import SplitOptions, check_replaceable, write_label_set
from rlaif.data.label_sets.exports import ExportCounts, ExportOptions, export_rows, write_rows
from rlaif.data.label_sets.label_table import preferences_of
from rlaif.data.label_sets.mixing import check_weight, mix_labels
from rlaif.data.label_sets.show import find_tables, label_lines, summary_lines, tables_in
from rlaif.data.preferences_io import (
    PREFERENCE_SCHEMA,
    is_label_table,
    iterate_preferences,
    open_table,
    write_preferences,
)
from rlaif.errors import ConfigError, DataError, RlaifError
from rlaif.interruption import raise_on_sigterm
from rlaif.tasks.base import get_task
from rlaif.types import Preference

COMMAND = "rlaif-labels"


def main(words: Sequence[str] | None = None) -> NoReturn:
    """Entry point of the console command.

    Args:
        words: What follows the command's name; None takes those of the command line.
    """
    let_waiting_threads_sleep()
    ignore_closed_pipes()
    raise_on_sigterm()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # texts may hold half characters
    arguments = _parser().parse_args(words)
    try:
        arguments.run(arguments)
    except (RlaifError, OSError, KeyboardInterrupt) as error:
        code = report_error(COMMAND, error)
        if code is None:
            raise
        sys.exit(code)
    sys.exit(0)


def show(arguments: argparse.Namespace) -> None:
    """Print one label with everything that is known of it, the exact judge prompts first of all."""
    wanted = arguments.row
    labels = (label for table in _tables(arguments.path) for label in iterate_preferences(table))
    row = -1
    for row, label in enumerate(labels):
        if label.comparison.id.startswith(arguments.id) if arguments.id else row == wanted:
            print("\n".join(label_lines(label, row)))
            return
    option = f"--id={arguments.id}" if arguments.id else f"--row={wanted}"
    raise ConfigError(f"{option}: no such label; the table has the rows 0 to {row}")


def summary(arguments: argparse.Namespace) -> None:
    """Print what a label table, or a file in another format, holds; with ``--by`` the win rates of its responses."""
    if _is_other_file(arguments):
        lines = read_labels(arguments, arguments.path).reading.lines()
        print("\n".join([*lines, *_win_rates(arguments, pair_file(arguments, arguments.path))]))
        return
    for table in _tables(arguments.path):
        lines = summary_lines(iterate_preferences(table))
        print("\n".join([f"{table}", *lines, *_win_rates(arguments, iterate_preferences(table))]))


def _win_rates(arguments: argparse.Namespace, labels: PairFile | Iterable[Preference]) -> list[str]:
    """The lines of ``--by``; none without it."""
    if not arguments.by:
        return []
    from rlaif.data.label_sets import win_rates  # torch: seconds, and only these lines need it

    if isinstance(labels, PairFile):
        rows = win_rates.rows_of_file(labels, arguments.by, arguments.confidences)
    else:
        rows = win_rates.rows_of_table(labels, arguments.by)
    return win_rates.win_rate_lines(rows, arguments.by)


def export(arguments: argparse.Namespace) -> None:
    """Write labels as another tool reads them, or as a data set with a card."""
    _check_kind_of_export(arguments)
    tables = _tables(arguments.path)
    if arguments.format == "dataset":
        _export_dataset(arguments, tables)
        return
    options = ExportOptions(
        format=arguments.format,
        min_margin=arguments.min_margin,
        conversational=arguments.conversational,
        with_margin=arguments.margin,
    )
    counts = ExportCounts()
    labels = (label for table in tables for label in iterate_preferences(table))
    with writing(arguments.out, tables):
        write_rows(arguments.out, export_rows(labels, options, counts), options.endings)
    print("\n".join([f"{counts.written:,} labels written to {arguments.out}", *counts.lines()]))


def import_labels(arguments: argparse.Namespace) -> None:
    """Read labels in another format and write them as a label table."""
    reading, labels = _imported(arguments)
    with writing(arguments.out, [arguments.path]):
        write_preferences(arguments.out, labels)
    print("\n".join([*reading, f"written to {arguments.out}"]))


def convert(arguments: argparse.Namespace) -> None:
    """Write labels of any format in another one; of a label table as Parquet nothing is lost."""
    if arguments.conversational and arguments.to != "trl":
        raise ConfigError("--conversational: only for --to trl")
    reading: list[str] = []
    if _is_other_file(arguments):
        tables = [arguments.path]
        labels: Iterable[Preference]
        reading, labels = _imported(arguments)
    else:
        tables = _tables(arguments.path)
        labels = (label for table in tables for label in iterate_preferences(table))
        reading = [line for table in tables for line in _unknown_columns(table)]
    with writing(arguments.out, tables):
        told = _write_as(arguments, labels)
    print("\n".join([*reading, *told]))


def _imported(arguments: argparse.Namespace) -> tuple[list[str], list[Preference]]:
    """The account of a file in another format, and its labels."""
    if not arguments.source:
        raise ConfigError("--source: say who gave the labels, e.g. --source human")
    task = get_task(arguments.task)
    table = read_labels(arguments, arguments.path)
    return table.reading.lines(), preferences_of(table, task, arguments.source)


def _unknown_columns(table: Path) -> list[str]:
    with open_table(table, PREFERENCE_SCHEMA) as opened:
        names = [name for name in opened.schema_arrow.names if name not in PREFERENCE_SCHEMA.names]
    return [f"left out: the column {name!r}, which is no field of a label" for name in names]


def _write_as(arguments: argparse.Namespace, labels: Iterable[Preference]) -> list[str]:
    """Write labels in the format of ``--to``, and tell what became of them."""
    out, counts = arguments.out, ExportCounts()
    if arguments.to != "parquet":
        options = ExportOptions(format=arguments.to, conversational=arguments.conversational)
        write_rows(out, export_rows(labels, options, counts), options.endings)
    elif out.suffix != ".parquet":
        raise ConfigError(f"{out}: the name must end with .parquet")
    else:
        write_preferences(out, _counted(labels, counts))
    return [f"{counts.written:,} labels written to {out}", *counts.lines()]


def _counted(labels: Iterable[Preference], counts: ExportCounts) -> Iterator[Preference]:
    for label in labels:
        counts.written += 1
        yield label


def mix(arguments: argparse.Namespace) -> None:
    """Put several label tables into one, each with a weight."""
    weights = arguments.weights or [1.0] * len(arguments.tables)
    if len(weights) != len(arguments.tables):
        raise ConfigError(
            f"--weights: {len(weights)} numbers for {len(arguments.tables)} tables; give one for each, in their order"
        )
    for weight in weights:
        check_weight("--weights", weight)
    parts: list[tuple[Sequence[Preference], float]] = [
        ([label for table in _tables(path) for label in iterate_preferences(table)], weight)
        for path, weight in zip(arguments.tables, weights, strict=True)
    ]
    labels, num_repeated = mix_labels(parts)
    with writing(arguments.out, [path for path in arguments.tables if path.is_file()]):
        write_preferences(arguments.out, labels)
    print(f"{len(labels):,} labels written to {arguments.out}, {num_repeated:,} left out: same source and pair")
    print("\n".join(summary_lines(labels)))


def _is_other_file(arguments: argparse.Namespace) -> bool:
    """True where rows of a layout are read: ``--format`` says so, or the path leads to no label table and no run."""
    path: Path = arguments.path
    is_labels = any(map(is_label_table, [path, *tables_in(path)])) or (path / CONFIG).is_file()
    if arguments.format is None and not is_labels:
        arguments.format = AUTO
    if arguments.format is None and (typed := reading_options(arguments)):
        raise ConfigError(
            f"{typed[0]}: {arguments.path} holds label tables, which are read as they are; leave the option out, or"
            " read the rows of one as those of a file: --format auto"
        )
    return arguments.format is not None


def _tables(path: Path) -> list[Path]:
    """The label tables of a path; for a file in another format the error names the options to add."""
    tables = find_tables(path)
    try:
        open_table(tables[0], PREFERENCE_SCHEMA).close()
    except DataError as error:
        if path.is_file():
            _refuse_other_format(path, error)
        raise
    return tables


def _refuse_other_format(path: Path, error: DataError) -> None:
    try:
        guess = layout_guess(path)
    except DataError as unreadable:
        raise DataError(as_typed(str(unreadable))) from unreadable
    command = f"{COMMAND} import {path} LABELS.parquet --format {guess or 'FORMAT'} --source WHO"
    raise ConfigError(
        f"{path}: is no label table; make one with {command}; formats are {', '.join(layout_names())}"
    ) from error


def _check_kind_of_export(arguments: argparse.Namespace) -> None:
    """Refuse options that the other kind of export has.

    Raises:
        ConfigError: All of them.
    """
    is_set = arguments.format == "dataset"
    others = ("min_margin", "conversational", "margin") if is_set else ("validation", "test", "evidence", "scorecard")
    told = "not for --format dataset, which holds every label" if is_set else "only for --format dataset"
    typed = [f"--{name.replace('_', '-')}" for name in others if getattr(arguments, name) not in (None, False)]
    if typed:
        raise ConfigError([f"{option}: {told}" for option in typed])


def _export_dataset(arguments: argparse.Namespace, tables: Sequence[Path]) -> None:
    if len(tables) != 1:
        raise ConfigError(f"{arguments.path}: is a data set already; give the label table that it was made from")
    card = Card.beside(tables[0])
    if arguments.scorecard is not None:
        if not arguments.scorecard.is_file():
            raise ConfigError(f"--scorecard: {arguments.scorecard} is no file; give a run's scorecard.json")
        if not (figures := Card.figures(arguments.scorecard)):
            told = "holds no figure of a labeler; give a run's scorecard.json"
            raise ConfigError(f"--scorecard={arguments.scorecard}: {told}")
        card = replace(card, scorecard=figures)
    shares = {name: share for name in ("validation", "test") if (share := getattr(arguments, name)) is not None}
    options = SplitOptions(**shares)
    check_replaceable(arguments.out, tables[0])
    with writing(arguments.out, tables):
        counts = write_label_set(tables[0], arguments.out, card, options=options, with_evidence=arguments.evidence)
    rows = ", ".join(f"{count:,} {split}" for split, count in counts.rows.items())
    print(f"{counts.num_rows:,} rows written to {arguments.out}: {rows}")
    _print_counts("left out", Counter({"same source and pair": counts.num_repeated}))
    _print_counts("kept without a label", counts.missing)


def _print_counts(what: str, counts: Counter[str]) -> None:
    for reason, count in counts.most_common():
        if count:
            print(f"{what}: {count:,} × {reason}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=COMMAND, description="Look at labels, export, import and mix them.")
    commands = parser.add_subparsers(dest="command", required=True)
    where = "a label table, its directory, a run's directory, or a data set's"

    shown = commands.add_parser("show", help="one label: exact judge prompts, replies, log-probabilities")
    shown.set_defaults(run=show)
    shown.add_argument("path", type=Path, help=where)
    one = shown.add_mutually_exclusive_group()
    one.add_argument("--row", type=int, default=0, help="row of the table, from 0 (default: 0)")
    one.add_argument("--id", default="", help="comparison_id, or how it begins")

    summed = commands.add_parser("summary", help="counts, reasons, mean")
    summed.set_defaults(run=summary)
    summed.add_argument("path", type=Path, help=f"{where}; or any file or folder of labels")
    summed.add_argument("--by", metavar="COLUMN", help="win rates of the responses for each value of a column")
    add_reading(summed, reads_tables=True)

    exported = commands.add_parser("export", help="labels for other tools, or a data set with a card")
    exported.set_defaults(run=export)
    exported.add_argument("path", type=Path, help=where)
    exported.add_argument("out", type=Path, help="file (.jsonl, .json, .parquet); a directory for --format dataset")
    exported.add_argument("--format", required=True, choices=["trl", "distilabel", "alpaca_eval", "openai", "dataset"])
    exported.add_argument("--min-margin", type=float, default=0.0, help="least |2p - 1|, 0 to 1 (default: 0)")
    exported.add_argument("--conversational", action="store_true", help="trl: lists of messages instead of texts")
    exported.add_argument("--margin", action="store_true", help="trl: a column margin, which TRL's loss subtracts")
    exported.add_argument("--validation", type=float, help="dataset: share of prompts (default: 0.05)")
    exported.add_argument("--test", type=float, help="dataset: share of prompts (default: 0.05)")
    exported.add_argument("--evidence", action="store_true", help="dataset: keep the judge prompts and replies")
    exported.add_argument("--scorecard", type=Path, help="dataset: another run's scorecard.json, for the card")

    imported = commands.add_parser("import", help="labels of another format as a label table")
    imported.set_defaults(run=import_labels)
    imported.add_argument("path", type=Path, help="the file")
    imported.add_argument("out", type=Path, help="label table to write (.parquet)")
    imported.add_argument("--source", required=True, help="who gave the labels, e.g. human")
    imported.add_argument("--task", default="dialogue", help="what the texts are (default: dialogue)")
    add_reading(imported, reads_tables=False)

    converted = commands.add_parser("convert", help="labels of any format in another one")
    converted.set_defaults(run=convert)
    converted.add_argument("path", type=Path, help=f"{where}; or any file or folder of labels")
    converted.add_argument("out", type=Path, help="file (.parquet, .jsonl, .json)")
    formats = ["parquet", "trl", "alpaca_eval", "distilabel", "openai"]
    converted.add_argument("--to", required=True, choices=formats, help="parquet: a label table, without loss")
    converted.add_argument("--conversational", action="store_true", help="trl: lists of messages instead of texts")
    converted.add_argument("--source", default="", help="with --format: who gave the labels, e.g. human")
    converted.add_argument("--task", default="dialogue", help="with --format: what the texts are (default: dialogue)")
    add_reading(converted, reads_tables=True)

    mixed = commands.add_parser("mix", help="several label tables as one, each with a weight")
    mixed.set_defaults(run=mix)
    mixed.add_argument("out", type=Path, help="label table to write (.parquet)")
    mixed.add_argument("tables", type=Path, nargs="+", help=where)
    mixed.add_argument("--weights", type=float, nargs="+", help="one per table, at least 0 (default: 1)")
    return parser


if __name__ == "__main__":
    main()
