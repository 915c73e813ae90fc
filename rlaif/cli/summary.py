"""``rlaif-runs summary``: figures over the seeds of finished runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from fnmatch import fnmatchcase

from rich.console import Console
from scipy import stats

from rlaif.cli.run_groups import Group, code_notices, comparable, confidence_of, group_runs, unmatched_notices
from rlaif.cli.run_results import find_runs
from rlaif.cli.table_files import print_alone, tell, write_texts
from rlaif.errors import ConfigError
from rlaif.evaluation.summary import PooledFigure, paired_differences, pool_figures
from rlaif.reporting.summary_tables import SummaryRow, summary_csv, summary_json, summary_markdown, summary_table

FEW = range(2, 5)
"""Numbers of runs whose intervals are called wide."""


def summarize(arguments: argparse.Namespace) -> None:
    """Read runs, group and pool them, and show or write the tables.

    Raises:
        ConfigError: A word names no finished run, or the runs do not belong into one table.
    """
    runs, _, left_out = find_runs(arguments.runs, arguments.kind)
    groups = group_runs(runs, arguments.ignore)
    confidence = confidence_of(groups)
    tables = [(group.name, _pooled(group, arguments.figures, confidence)) for group in groups]
    compared = [_compared(one, base, arguments.figures, confidence) for one, base in comparable(groups)]
    tables += [(name, rows) for name, rows in compared if rows]
    rows = [row for _, found in tables for row in found]
    if not rows:
        raise ConfigError(f"--figures {' '.join(arguments.figures)}: no run has such a figure")
    unmatched = unmatched_notices(runs, arguments.figures, arguments.ignore)
    notices = [*left_out, *unmatched, *code_notices(runs), *_width_notices(groups, confidence)]
    texts = _texts(rows, notices, confidence)
    if not print_alone(arguments, texts, notices):
        _show(tables, notices, confidence)
    write_texts(arguments, texts)


def _pooled(group: Group, patterns: Sequence[str], confidence: float) -> list[SummaryRow]:
    found = pool_figures(group.runs, shares_prompts=group.shares_prompts, confidence=confidence)
    return [SummaryRow(group=group.name, figure=figure) for figure in _named(found, patterns)]


def _compared(one: Group, base: Group, patterns: Sequence[str], confidence: float) -> tuple[str, list[SummaryRow]]:
    runs, base_runs = one.with_seeds_of(base), base.with_seeds_of(one)
    found = paired_differences(runs, base_runs, shares_prompts=one.shares_prompts, confidence=confidence)
    name = f"{one.name} minus {base.name}"
    rows = [SummaryRow(group=name, figure=figure, is_difference=True) for figure in _named(found, patterns)]
    return f"{name}, paired by seed", rows


def _named(figures: Sequence[PooledFigure], patterns: Sequence[str]) -> list[PooledFigure]:
    if not patterns:
        return [figure for figure in figures if not figure.name.startswith("time/")]
    return [figure for figure in figures if any(fnmatchcase(figure.name, pattern) for pattern in patterns)]


def _width_notices(groups: Sequence[Group], confidence: float) -> list[str]:
    """What few runs can say."""
    counts = sorted({len(group.runs) for group in groups})
    notices = ["one run tells nothing about other seeds: it has no interval here"] if counts[0] == 1 else []
    if few := [count for count in counts if count in FEW]:
        told = [f"{count} runs {stats.t.ppf(0.5 + confidence / 2, count - 1):.1f}" for count in (*few, FEW.stop)]
        notices.append(f"intervals of few runs are wide, in standard errors: {'; '.join(told)}")
    if any(group.shares_prompts for group in groups):
        notices.append("runs that share their prompts: the noise of prompts does not shrink with the number of runs")
    return notices


def _texts(rows: Sequence[SummaryRow], notices: Sequence[str], confidence: float) -> dict[str, str]:
    return {
        "markdown": summary_markdown(rows, confidence),
        "csv": summary_csv(rows),
        "json": summary_json(rows, notices),
    }


def _show(tables: Sequence[tuple[str, Sequence[SummaryRow]]], notices: Sequence[str], confidence: float) -> None:
    console = Console(highlight=False)
    for name, rows in tables:
        if rows:
            console.print(summary_table(rows, name or "all runs", confidence, console.width))
            console.print()
    tell(console, notices)
