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
from rlaif.evaluation.attacks import all_attacks
from rlaif.reporting.catalog import describe, format_interval, format_value
from rlaif.types import Figure

SCORECARD_COLUMNS = {
    "labeler/alignment": "alignment",
    "labeler/position_bias": "same slot",
    "labeler/first_slot_share": "of it slot 1",
    "labeler/slot_p_value": "p",
    "labeler/prefers_longer": "longer",
    "labeler/prefers_longer_at_equal_preference": "longer at equal",
    "labeler/ece": "ECE",
    "labeler/confidence_slope": "slope",
    "labeler/self_consistency": "consistent",
    "labeler/tie_rate": "ties",
    "labeler/missing_rate": "missing",
    "cost/prompt_tokens_per_label": "tokens read",
    "cost/reply_tokens_per_label": "written",
    "cost/seconds_per_1000_labels": "s per 1,000",
    "cost/usd_per_1000_labels": "$ per 1,000",
}
"""Figures of the table and their headings; all figures stand in the JSON file."""
PROBE_COLUMNS = {
    "probe/judged_right": "judged right",
    "probe/any_flip_rate": "any flip",
    "probe/flip_rate": "mean flip",
    **{f"probe/flip_rate/{attack.name}": attack.name for attack in all_attacks()},
    "probe/pattern_rate": "looks like one",
    **{f"probe/win_rate_vs_policy/{attack.name}": f"{attack.name} pays" for attack in all_attacks()},
}
COLUMNS = {"scorecards": SCORECARD_COLUMNS, "probes": PROBE_COLUMNS}
"""Columns by the name of the table."""
ON_TERMINAL = (
    "probe/judged_right",
    "probe/any_flip_rate",
    "probe/flip_rate",
    "probe/pattern_rate",
    "labeler/alignment",
    "labeler/position_bias",
    "labeler/prefers_longer_at_equal_preference",
    "labeler/ece",
    "labeler/missing_rate",
)
"""What fits 80 columns."""
WITH_INTERVAL = ("labeler/alignment",)
"""Shown with its interval where space is scarce."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job of a sweep."""

    overrides: tuple[str, ...]
    """As typed, sweeps resolved, e.g. ``("task=dialogue", "labeler=pairwise")``."""
    figures: tuple[Figure, ...] = ()
    failed: str | None = None
    """What stopped it; None when it finished."""
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


def terminal_table(jobs: Sequence[Job], columns: Mapping[str, str]) -> Table:
    """The columns that a terminal has space for, an override to a line; a failed job is named as such."""
    shown = [name for name in ON_TERMINAL if name in columns and any(name in job.values for job in jobs)]
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("", overflow="fold")
    for name in shown:
        table.add_column(columns[name].replace(" at ", " at\n"), justify="right", no_wrap=True)
    for name, job in zip(row_names(jobs), jobs, strict=True):
        lines = Text(name.replace(" ", "\n"))
        if job.failed is not None:
            table.add_row(lines, Text("failed", style="red"))
        else:
            table.add_row(lines, *[_cell(job, column, with_interval=column in WITH_INTERVAL) for column in shown])
    return table


def markdown(jobs: Sequence[Job], columns: Mapping[str, str]) -> str:
    """A GitHub table with every column that any job has, intervals in brackets."""
    shown = [name for name in columns if any(name in job.values for job in jobs)]
    lines = [
        "| " + " | ".join(["", *(columns[name] for name in shown), "n"]) + " |",
        "|" + "---|" * (len(shown) + 2),
    ]
    for name, job in zip(row_names(jobs), jobs, strict=True):
        if job.failed is not None:
            cells = [f"failed: {job.failed}", *[""] * len(shown)]
        else:
            cells = [*(_cell(job, column, with_interval=True) or "–" for column in shown), _n(job, shown)]
        lines.append("| " + " | ".join(_escaped(cell) for cell in [name, *cells]) + " |")
    return "\n".join(lines) + "\n"


def csv_text(jobs: Sequence[Job], columns: Mapping[str, str]) -> str:
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


def write_tables(jobs: Sequence[Job], columns: Mapping[str, str], directory: Path, name: str) -> Path:
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
    shown = format_value(figure.value, describe(name).unit)
    interval = format_interval(figure, with_unit=False)
    return f"{shown} ({interval})" if with_interval and interval else shown


def _n(job: Job, shown: Sequence[str]) -> str:
    found = next((job.values[name].n for name in shown if name in job.values), None)
    return "" if found is None else f"{found:,}"


def _escaped(cell: str) -> str:
    return " ".join(cell.split()).replace("|", "\\|")
