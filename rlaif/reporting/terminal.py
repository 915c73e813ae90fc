"""Display of a run in a terminal, in a log file, and under ``--multirun``.

In a terminal, a running stage is a line with a spinner, a bar and the time left, which becomes
one line with a check mark. Anywhere else the same is written as plain lines.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from rlaif.evaluation import records
from rlaif.evaluation.catalogue import describe, heading, sort_figures, split_name
from rlaif.evaluation.checks import Check
from rlaif.evaluation.formats import format_interval, format_seconds, format_value, judged_by
from rlaif.evaluation.records import CrossTable
from rlaif.types import Figure

_NAME_WIDTH = 20
_FULL_NAME_WIDTH, _MIN_NAME_WIDTH = 28, 14
"""Columns of a figure's name: next to its judge and n, and on the narrowest terminal."""
_MIN_JUDGE_WIDTH, _MAX_JUDGE_WIDTH = 10, 20
_CROSS_TABLE_COLUMN = 9
"""Columns of the terminal for one kind of figure, its gap included."""
_PLAIN_EVERY_S = 15.0


class RunDisplay:
    """Shows the stages of one run and, at the end, its figures.

    Args:
        console: Where to write; None takes standard output.
        clock: Seconds, only differences count.

    Example::

        display = RunDisplay()
        display.header("rlaif-run task=dialogue", "outputs/2025-01-01/12-00-00")
        with display.stage("labels") as stage:
            progress = stage.progress(2000, unit="pairs")
            for batch in batches:
                ...
                progress.advance(len(batch))
            stage.note("2,000 pairs, 0.3 % missing")
        display.summary(figures, checks, path)
    """

    def __init__(self, console: Console | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        if isinstance(sys.stdout, io.TextIOWrapper) and console is None:
            sys.stdout.reconfigure(errors="replace")  # check marks must not end a run on a Latin-1 terminal
        self._shown: set[str] = set()
        self.console = console or Console(highlight=False)
        self.clock = clock

    @property
    def is_live(self) -> bool:
        """True where lines can be redrawn: a terminal that is not dumb."""
        return self.console.is_terminal and not self.console.is_dumb_terminal and not self.console.quiet

    def header(self, command: str, directory: str) -> None:
        """The first lines of a run (of every job of a sweep): what was asked, and where it goes."""
        self.console.print(Text(command, style="bold"), soft_wrap=True)
        self.console.print(Text(f"writing to {directory}", style="dim"), soft_wrap=True)
        self.console.print()

    def table(self, table: records.Table) -> None:
        """Print a plain table."""
        shown = Table(*table.columns, box=None, title=table.title)
        for row in table.rows:
            shown.add_row(*map(Text, row))
        self.console.print(shown)

    def notes(self, notes: Sequence[str]) -> None:
        """Sentences below the line of a stage; one that several stages tell is shown once."""
        for note in notes:
            if note in self._shown:
                continue
            self._shown.add(note)
            self.console.print(Text(f"    {note}", style="dim"), soft_wrap=True)

    def _print_rows(self, table: Table) -> None:
        """Print a table without the spaces that fill its last column."""
        with self.console.capture() as capture:
            self.console.print(table)
        for row in capture.get().splitlines():
            self.console.out(row.rstrip(), highlight=False)

    @contextmanager
    def stage(self, name: str) -> Iterator[StageDisplay]:
        """Show one stage for as long as the block runs.

        Args:
            name: As in ``pipeline.stages``.

        Yields:
            What the stage reports its progress and its result to.
        """
        stage = StageDisplay(name, self.console, live=self.is_live, clock=self.clock)
        stage.begin()
        try:
            yield stage
        except BaseException:
            stage.end(failed=True)
            raise
        stage.end(failed=False)

    def summary(
        self,
        figures: Sequence[Figure],
        checks: Sequence[Check] = (),
        report: Path | None = None,
        *,
        confidence: float = 0.95,
    ) -> None:
        """One table of all figures but the times, then the failed checks, then the path of the report."""
        self.console.print()
        self._print_rows(summary_table(figures, checks, confidence, width=self.console.width))
        self.console.print()
        failed = [check for check in checks if not check.passed]
        for check in failed:
            self.console.print(Text.assemble(("✗ ", "bold red"), ("not shown: ", "red"), check.name))
            self.console.print(Text(f"    {check.detail}", style="dim"), soft_wrap=True)
        if checks and not failed:
            self.console.print(Text(f"✓ all {len(checks)} checks passed", style="green"))
        if report is not None:
            self.console.print(Text.assemble(("report  ", "bold"), str(report)), soft_wrap=True)


class StageDisplay:
    """One stage: a live line while it runs, a finished line afterwards. Made by :meth:`RunDisplay.stage`."""

    def __init__(self, name: str, console: Console, *, live: bool, clock: Callable[[], float]) -> None:
        self.name = name.replace("_", " ")
        self.console = console
        self._clock = clock
        self._began = clock()
        self._result = ""
        self._was_reused = False
        self._bar: Progress | None = None
        self._spinner = Spinner("dots", style="cyan")
        self._live = Live(get_renderable=self._render, console=console, transient=True) if live else None

    def reused(self, note: str = "") -> None:
        """The stage's result was in the store; nothing was done."""
        self._was_reused, self._result = True, note

    def note(self, text: str) -> None:
        """Set the result in a few words, for the finished line."""
        self._result = text

    def progress(self, total: int | None, *, unit: str = "", completed: int = 0) -> Progress:
        """Start a bar; a later call replaces it.

        Args:
            total: Number of items; None when it is not known.
            unit: What is counted, e.g. ``"pairs"``.
            completed: Items that were done before this run, when a stage is resumed.
        """
        self._bar = Progress(total, unit, completed, self._clock, None if self._live else self._plain)
        return self._bar

    def begin(self) -> None:
        """Show that the stage runs."""
        if self._live is not None:
            self._live.start()

    def end(self, *, failed: bool) -> None:
        """Replace the live line by the finished one."""
        if self._live is not None:
            self._live.stop()
        seconds = format_seconds(self._clock() - self._began)
        if failed:
            mark, result = Text("✗", style="bold red"), Text(f"stopped after {seconds}", style="red")
        elif self._was_reused:
            reused = "reused from store" + (f" · {self._result}" if self._result else "")
            mark, result = Text("✓", style="green"), Text(reused, style="dim")
        else:
            mark, result = Text("✓", style="bold green"), Text(self._result)
        seconds = "" if failed or self._was_reused else seconds
        if self._live is None:
            suffix = f" · {seconds}" if result and seconds else seconds
            self.console.print(Text.assemble(mark, f" {self.name:{_NAME_WIDTH}} ", result, suffix), soft_wrap=True)
            return
        line = Table.grid(padding=(0, 1), expand=True)
        line.add_column(width=1)
        line.add_column(width=_NAME_WIDTH, no_wrap=True)
        line.add_column(ratio=1)
        line.add_column(justify="right", no_wrap=True, style="dim")
        line.add_row(mark, self.name, result, seconds)
        self.console.print(line)

    def _plain(self, text: str) -> None:
        self.console.print(f"  {self.name:{_NAME_WIDTH}} {text}", soft_wrap=True, markup=False)

    def _render(self) -> RenderableType:
        bar = self._bar
        line = Table.grid(padding=(0, 1), expand=True)
        line.add_column(width=1)
        line.add_column(width=_NAME_WIDTH, no_wrap=True)
        line.add_column(ratio=1)
        line.add_column(justify="right", no_wrap=True)
        line.add_column(justify="right", width=13, no_wrap=True, style="dim")
        elapsed = format_seconds(round(self._clock() - self._began))
        if bar is None or bar.total is None:
            counted = "" if bar is None else f"{bar.completed:,} {bar.unit}".strip()
            line.add_row(self._spinner, Text(self.name, style="bold"), counted, "", elapsed)
        else:
            shown = ProgressBar(total=bar.total, completed=bar.completed, complete_style="cyan", finished_style="cyan")
            line.add_row(self._spinner, Text(self.name, style="bold"), shown, bar.counted, bar.left or elapsed)
        return line


class Progress:
    """A progress bar with the time left. Made by :meth:`StageDisplay.progress`.

    Calling it with ``(completed, total)`` is the callback that engines, labelers and trainers take.
    """

    def __init__(
        self,
        total: int | None,
        unit: str,
        completed: int,
        clock: Callable[[], float],
        write: Callable[[str], None] | None,
    ) -> None:
        self.total, self.unit, self.completed = total, unit, completed
        self._start, self._began = completed, clock()
        self._clock, self._write, self._written = clock, write, clock()

    def __call__(self, completed: int, total: int | None = None) -> None:
        """Set how many items are done, counted from the stage's beginning."""
        self.completed = completed
        self.total = total if total is not None else self.total
        self._maybe_write()

    def advance(self, count: int = 1) -> None:
        """Count more items as done."""
        self.completed += count
        self._maybe_write()

    @property
    def counted(self) -> str:
        """``420/2,000 pairs``."""
        return (f"{self.completed:,}" + (f"/{self.total:,}" if self.total else "") + f" {self.unit}").strip()

    @property
    def left(self) -> str:
        """Time left at the mean speed of this run so far; empty before the first item."""
        done = self.completed - self._start
        if self.total is None or done <= 0:
            return ""
        seconds = (self._clock() - self._began) / done * max(0, self.total - self.completed)
        return f"{format_seconds(round(seconds))} left"

    def _maybe_write(self) -> None:
        now = self._clock()
        if self._write is None or now - self._written < _PLAIN_EVERY_S:
            return
        self._written = now
        self._write(self.counted + (f", {self.left}" if self.left else ""))


def summary_table(
    figures: Sequence[Figure], checks: Sequence[Check] = (), confidence: float = 0.95, *, width: int = 80
) -> Table:
    """All figures but the times as one table; colour and mark come from the checks.

    Args:
        figures: In any order.
        checks: Outcomes, by the name of the figure that each reads.
        confidence: Coverage of the intervals.
        width: Columns of the terminal. Where they do not suffice, ``judged by`` is left out first, then ``n``, then
            the interval; a name that is still too long is folded.
    """
    rows = _summary_rows(figures, checks)
    widths = [max((row[place].cell_len for _, row in rows), default=0) for place in range(5)]
    headings = ["", "value", f"{100 * confidence:g} % interval", "n", "judged by"]
    widths = [max(found, len(title)) for found, title in zip(widths, headings, strict=True)]
    shown, judge_width = _columns_that_fit(widths, width)
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("", overflow="fold")
    for title in headings[1 : min(shown, 4)]:
        table.add_column(title, justify="right", no_wrap=True)
    if shown == 5:
        table.add_column(headings[4], overflow="ellipsis", no_wrap=True, max_width=judge_width)
    group_before = ""
    for group, row in rows:
        if group != group_before:
            table.add_row(Text(heading(group), style="bold"))
            group_before = group
        table.add_row(*row[:shown])
    return table


def _columns_that_fit(widths: Sequence[int], width: int) -> tuple[int, int]:
    """Number of columns of the summary that are shown, and the width of the last one, the judge.

    Args:
        widths: Of each column at its widest: name, value, interval, n, judge.
        width: Of the terminal.
    """
    name = min(widths[0], _FULL_NAME_WIDTH)
    judge_room = width - name - sum(widths[1:4]) - 5  # a space follows every column
    if judge_room >= min(widths[4], _MIN_JUDGE_WIDTH):
        return 5, min(_MAX_JUDGE_WIDTH, judge_room)
    if name + sum(widths[1:4]) + 4 <= width:
        return 4, 0
    return (3 if _MIN_NAME_WIDTH + sum(widths[1:3]) + 3 <= width else 2), 0


def _summary_rows(figures: Sequence[Figure], checks: Sequence[Check]) -> list[tuple[str, list[Text]]]:
    """Group and cells of every figure but the times and the strata of coefficients."""
    outcome = {check.figure: check.passed for check in checks if check.figure}
    names = {figure.name for figure in figures}
    rows = []
    for figure in sort_figures(figures):
        group, whole, stratum = split_name(figure.name)
        if group != "time" and not (stratum and describe(figure.name).unit == "coefficient"):
            rows.append((group, _summary_row(figure, outcome.get(figure.name), stratum if whole in names else "")))
    return rows


def _summary_row(figure: Figure, passed: bool | None, stratum: str) -> list[Text]:
    """The cells of a figure; a stratum below its whole is named by itself."""
    spec = describe(figure.name)
    mark, style = {None: (" ", ""), True: ("✓", "green"), False: ("✗", "red")}[passed]
    return [
        Text.assemble((f"{mark} ", style), (f"  {stratum}", "dim") if stratum else spec.label),
        Text(format_value(figure.value, spec.unit), style=f"bold {style}" if style else ""),
        Text(format_interval(figure, spec.unit, with_unit=False), style="dim" if stratum else ""),
        Text("" if figure.n is None else f"{figure.n:,}", style="dim"),
        Text(judged_by(figure), style="dim"),
    ]


def cross_table(section: CrossTable, checks: Sequence[Check] = (), *, width: int = 80) -> Table:
    """One row per thing, one column per kind of figure; a figure that fails its check is red.

    Args:
        section: The figures.
        checks: Outcomes, by the name of the figure that each reads.
        width: Columns of the terminal; the last kinds are left out where they do not suffice.
    """
    failed = {check.figure for check in checks if not check.passed}
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(section.row_heading.lower(), no_wrap=True)
    room = width - max(map(len, [section.row_heading, *section.rows])) - 2
    kinds = list(section.columns)[: max(1, room // _CROSS_TABLE_COLUMN)]
    for kind in kinds:
        table.add_column(section.columns[kind], justify="right")
    for name, row in section.rows.items():
        table.add_row(name, *[_rate_cell(row.get(kind), failed) for kind in kinds])
    return table


def _rate_cell(figure: Figure | None, failed: set[str]) -> Text:
    if figure is None:
        return Text("–")
    return Text(format_value(figure.value, "rate"), style="bold red" if figure.name in failed else "")
