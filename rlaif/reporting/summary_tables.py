"""The tables of ``rlaif-runs summary``: for the terminal, as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from rlaif.evaluation.catalogue import describe, heading, split_name
from rlaif.evaluation.formats import Unit, format_interval, format_value
from rlaif.evaluation.summary import PooledFigure
from rlaif.types import Figure

DIFFERENCES: dict[Unit, Unit] = {"rate": "difference"}
"""Unit of a difference of two figures of a unit, where it is another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryRow:
    """One figure of one group, or the difference of two."""

    group: str
    figure: PooledFigure
    is_difference: bool = False

    @property
    def unit(self) -> Unit:
        """Unit of value and interval."""
        unit = describe(self.figure.name).unit
        return DIFFERENCES.get(unit, unit) if self.is_difference else unit

    @property
    def label(self) -> str:
        """The figure in words, with its group of figures."""
        return f"{heading(split_name(self.figure.name)[0])}: {describe(self.figure.name).label}"

    @property
    def mean(self) -> str:
        """With its unit."""
        return format_value(self.figure.pooled.value, self.unit)

    @property
    def ends(self) -> tuple[float, float] | None:
        """Of the interval, None for one run; those of a rate are kept in [0, 1]."""
        pooled = self.figure.pooled
        if pooled.low is None or pooled.high is None:
            return None
        if self.unit == "rate":
            return max(pooled.low, min(0.0, pooled.value)), min(pooled.high, max(1.0, pooled.value))
        return pooled.low, pooled.high

    @property
    def interval(self) -> str:
        """Empty for one run."""
        if self.ends is None:
            return ""
        low, high = self.ends
        figure = Figure(name=self.figure.name, value=self.figure.pooled.value, low=low, high=high)
        return format_interval(figure, self.unit)

    @property
    def spread(self) -> str:
        """Standard deviation over seeds; of a rate in points."""
        spread = self.figure.pooled.spread
        if spread is None:
            return ""
        return f"{100 * spread:.1f} pp" if self.unit in ("rate", "difference") else format_value(spread, self.unit)

    @property
    def runs(self) -> str:
        """How many runs have the figure, and of how many."""
        count, missing = self.figure.pooled.num_runs, self.figure.missing
        return f"{count} of {count + missing}" if missing else str(count)


MIN_NAME_WIDTH = 14
"""Columns of the terminal that the name of a figure keeps."""
HEADINGS = ("figure", "mean", "95 % interval", "spread", "runs")


def summary_table(rows: Sequence[SummaryRow], title: str, confidence: float, width: int = 80) -> Table:
    """One group's rows for the terminal, in which no number is broken.

    Args:
        rows: Of one group.
        title: Above the table.
        confidence: Coverage of the intervals.
        width: Columns of the terminal. Where they do not suffice, runs are left out first, then spread and interval; a
            name that is still too long is folded.
    """
    headings = _headings(confidence)
    cells = [[row.label, row.mean, row.interval, row.spread, row.runs] for row in rows]
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    shown, name = len(widths), min(widths[0], MIN_NAME_WIDTH)
    while shown > 2 and name + sum(widths[1:shown]) + 2 * shown > width:  # a space on both sides of every column
        shown -= 1
    table = Table(title=Text(title, style="bold"), title_justify="left", box=None, header_style="dim", padding=(0, 1))
    for text in headings[:shown]:
        is_name = text == "figure"
        table.add_column(text, justify="left" if is_name else "right", overflow="fold", no_wrap=not is_name)
    for row in cells:
        table.add_row(*map(Text, row[:shown]))
    return table


def _headings(confidence: float) -> list[str]:
    return [name.replace("95", f"{100 * confidence:g}") for name in HEADINGS]


def summary_markdown(rows: Sequence[SummaryRow], confidence: float) -> str:
    """A GitHub table: one row per group and figure, the interval in brackets behind the mean."""
    figure, mean, interval, spread, runs = _headings(confidence)
    lines = [f"| group | {figure} | {mean} ({interval}) | {spread} | {runs} |", "|---|---|---|---|---|"]
    for row in rows:
        value = f"{row.mean} ({row.interval})" if row.interval else row.mean
        cells = [row.group or "all", row.label, value, row.spread or "–", row.runs]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def summary_csv(rows: Sequence[SummaryRow]) -> str:
    """Plain numbers, empty where there is none."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    records = [_record(row) for row in rows]
    names = [name for name in _record_names() if name != "values"]
    writer.writerow(names)
    for record in records:
        writer.writerow(["" if record[name] is None else record[name] for name in names])
    return buffer.getvalue()


def summary_json(rows: Sequence[SummaryRow], notices: Sequence[str]) -> str:
    """Every row with the value of each run by its seed, and what was told beside the table."""
    document = {"rows": [_record(row) for row in rows], "notices": list(notices)}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _record_names() -> tuple[str, ...]:
    return (
        *("group", "figure", "is_difference", "mean", "low", "high", "spread", "between_seeds"),
        *("runs", "runs_without", "prompts", "note", "values"),
    )


def _record(row: SummaryRow) -> dict[str, object]:
    figure, pooled = row.figure, row.figure.pooled
    low, high = row.ends or (None, None)
    values = (
        *(row.group, figure.name, row.is_difference, pooled.value, low, high, pooled.spread),
        *(pooled.between, pooled.num_runs, figure.missing, figure.num_items, figure.note, dict(figure.values)),
    )
    return dict(zip(_record_names(), values, strict=True))
