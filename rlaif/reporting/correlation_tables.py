"""The tables of ``rlaif-runs correlate``: for the terminal, as Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from rlaif.evaluation.catalogue import describe, heading, split_name
from rlaif.evaluation.formats import format_interval, format_value
from rlaif.evaluation.predictors import Predictor
from rlaif.types import Figure


def correlation_table(rows: Sequence[Predictor], title: str, confidence: float) -> Table:
    """One task's rows for the terminal."""
    table = Table(title=Text(title, style="bold"), title_justify="left", box=None, header_style="dim", padding=(0, 1))
    for column in ("figure", "file", "ρ", f"{100 * confidence:g} % interval", "labelers"):
        table.add_column(column, justify="left" if column in ("figure", "file") else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, _cells(row)))
    return table


def correlation_markdown(tables: Mapping[str, Sequence[Predictor]], outcome: str, confidence: float) -> str:
    """A GitHub table: one row per task and figure, the interval in brackets behind the correlation."""
    lines = [
        f"| runs | figure | file | ρ with {describe(outcome).label} ({100 * confidence:g} % interval) | labelers |",
        "|---|---|---|---|---|",
    ]
    for title, rows in tables.items():
        for label, kind, value, interval, labelers in map(_cells, rows):
            cells = [title, label, kind, f"{value} ({interval})" if interval else value, labelers]
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def correlation_json(tables: Mapping[str, Sequence[Predictor]], outcome: str, notices: Sequence[str]) -> str:
    """Every row with each labeler's two values, and what was told beside the table."""
    rows = [
        {
            "runs": title,
            "file": row.source[0],
            "figure": row.source[1],
            "outcome": outcome,
            "correlation": row.correlation.value,
            "low": row.correlation.low,
            "high": row.correlation.high,
            "labelers": row.correlation.n,
            "labelers_without": row.missing,
            "note": row.correlation.note,
            "values": {name: list(pair) for name, pair in row.values.items()},
        }
        for title, found in tables.items()
        for row in found
    ]
    return json.dumps({"rows": rows, "notices": list(notices)}, indent=1, ensure_ascii=False) + "\n"


def _cells(row: Predictor) -> tuple[str, str, str, str, str]:
    kind, name = row.source
    estimate = row.correlation
    label = f"{heading(split_name(name)[0])}: {describe(name).label}"
    labelers = f"{estimate.n} of {estimate.n + row.missing}" if row.missing else str(estimate.n)
    if estimate.value is None:
        return label, kind, "–", estimate.note, labelers
    figure = Figure(name=name, value=estimate.value, low=estimate.low, high=estimate.high)
    interval = format_interval(figure, "coefficient") or estimate.note
    return label, kind, format_value(estimate.value, "coefficient"), interval, labelers
