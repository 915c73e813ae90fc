"""One table over the jobs of a sweep: a row per job, named by what sets it apart."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.table import Table
from rich.text import Text

from rlaif.artifacts import atomic_write
from rlaif.evaluation.catalogue import describe
from rlaif.evaluation.figures import Column
from rlaif.evaluation.formats import format_interval, format_value
from rlaif.types import Figure

_MIN_NAME_WIDTH = 20
"""Columns of the terminal that a job's name keeps; longer names are folded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job of a sweep."""

    overrides: tuple[str, ...]
    """As typed, sweeps resolved, e.g. ``("task=dialogue", "labeler=pairwise")``."""
    figures: tuple[Figure, ...] = ()
    failed: str | None = None
    """The error that stopped it; None when it finished."""
    values: Mapping[str, Figure] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", {figure.name: figure for figure in self.figures})


def row_names(jobs: Sequence[Job]) -> list[str]:
    """The overrides that not all jobs share; a single job is named by all of its own.

    >>> row_names([Job(overrides=("seed=0", "labeler=pairwise")), Job(overrides=("seed=0", "labeler=length"))])
    ['labeler=pairwise', 'labeler=length']
    """
    shared = set.intersection(*(set(job.overrides) for job in jobs)) if len(jobs) > 1 else set()
    return [" ".join(item for item in job.overrides if item not in shared) or "as configured" for job in jobs]


def terminal_table(jobs: Sequence[Job], columns: Mapping[str, Column], width: int = 80) -> Table:
    """The columns that a terminal has space for, one override per line; a failed job is named as such.

    Args:
        jobs: One row each.
        columns: Of the table, by the name of the figure.
        width: Of the terminal; the last columns are left out where it is too narrow.
    """
    names = [name.replace(" ", "\n") for name in row_names(jobs)]
    room = width - min(_MIN_NAME_WIDTH, max((len(line) for name in names for line in name.split("\n")), default=0)) - 1
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("", overflow="fold")
    shown: list[str] = []
    for name, column in columns.items():
        if not column.on_terminal or not any(name in job.values for job in jobs):
            continue
        heading = column.heading.replace(" at ", " at\n")
        cells = [_cell(job, name, with_interval=column.with_interval) for job in jobs]
        room -= 1 + max(map(len, [*heading.split("\n"), *cells]))
        if room < 0 and shown:
            break
        table.add_column(heading, justify="right", no_wrap=True)
        shown.append(name)
    for name, job in zip(names, jobs, strict=True):
        if job.failed is not None:
            table.add_row(Text(name), Text("failed", style="red"))
        else:
            cells = [_cell(job, column, with_interval=columns[column].with_interval) for column in shown]
            table.add_row(Text(name), *cells)
    return table


def markdown(jobs: Sequence[Job], columns: Mapping[str, Column]) -> str:
    """A GitHub table with every column that any job has, intervals in brackets."""
    shown = [name for name in columns if any(name in job.values for job in jobs)]
    lines = [
        "| " + " | ".join(["", *(columns[name].heading for name in shown), "n"]) + " |",
        "|" + "---|" * (len(shown) + 2),
    ]
    for name, job in zip(row_names(jobs), jobs, strict=True):
        if job.failed is not None:
            cells = [f"failed: {job.failed}", *[""] * len(shown)]
        else:
            cells = [*(_cell(job, column, with_interval=True) or "–" for column in shown), _n(job, shown)]
        lines.append("| " + " | ".join(_escaped(cell) for cell in [name, *cells]) + " |")
    return "\n".join(lines) + "\n"


def csv_text(jobs: Sequence[Job], columns: Mapping[str, Column]) -> str:
    """Plain numbers: ``<figure>``, ``<figure>/low`` and ``<figure>/high`` per column; empty where absent."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    ends = ("value", "low", "high", "n")
    writer.writerow(
        ["job", "failed", *(name if end == "value" else f"{name}/{end}" for name in columns for end in ends)]
    )
    for name, job in zip(row_names(jobs), jobs, strict=True):
        numbers = [getattr(job.values.get(column), end, None) for column in columns for end in ends]
        writer.writerow([name, job.failed or "", *("" if number is None else number for number in numbers)])
    return buffer.getvalue()


def json_text(jobs: Sequence[Job]) -> str:
    """Every job with its overrides and all of its figures."""
    rows = [
        {
            "job": name,
            "overrides": list(job.overrides),
            "failed": job.failed,
            "figures": [asdict(figure) for figure in job.figures],
        }
        for name, job in zip(row_names(jobs), jobs, strict=True)
    ]
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"


def write_tables(jobs: Sequence[Job], columns: Mapping[str, Column], directory: Path, name: str) -> Path:
    """Write ``<name>.md``, ``.csv`` and ``.json``.

    Returns:
        The path of the Markdown table.

    Raises:
        StoreError: The directory cannot be written.
    """
    atomic_write(directory / f"{name}.json", json_text(jobs))
    atomic_write(directory / f"{name}.csv", csv_text(jobs, columns))
    atomic_write(directory / f"{name}.md", markdown(jobs, columns))
    return directory / f"{name}.md"


def _cell(job: Job, name: str, *, with_interval: bool) -> str:
    figure = job.values.get(name)
    if figure is None:
        return ""
    unit = describe(name).unit
    shown, interval = format_value(figure.value, unit), format_interval(figure, unit, with_unit=False)
    return f"{shown} ({interval})" if with_interval and interval else shown


def _n(job: Job, shown: Sequence[str]) -> str:
    found = next((job.values[name].n for name in shown if name in job.values), None)
    return "" if found is None else f"{found:,}"


def _escaped(cell: str) -> str:
    return " ".join(cell.split()).replace("|", "\\|")
