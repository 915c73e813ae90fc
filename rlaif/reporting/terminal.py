"""What a run looks like in a terminal, in a log file, and under ``--multirun``.

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

from rlaif.reporting.catalog import (
    GROUPS,
    describe,
    format_interval,
    format_seconds,
    format_value,
    judged_by,
    sort_figures,
    split_name,
)
from rlaif.reporting.checks import Check
from rlaif.types import Figure

_NAME_WIDTH = 14
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
        self._print_rows(summary_table(figures, checks, confidence))
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
        """What came out, in a few words, for the finished line."""
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
    """How far a stage is, with the time left. Made by :meth:`StageDisplay.progress`.

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


def summary_table(figures: Sequence[Figure], checks: Sequence[Check] = (), confidence: float = 0.95) -> Table:
    """All figures but the times as one table of at most 80 columns; colour and mark come from the checks."""
    outcome = {check.figure: check.passed for check in checks if check.figure}
    names = {figure.name for figure in figures}
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("")
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column(f"{round(100 * confidence)} % interval", justify="right", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    table.add_column("judged by", overflow="ellipsis", no_wrap=True, max_width=20)
    group_before = ""
    for figure in sort_figures(list(figures)):
        group = split_name(figure.name)[0]
        if group == "time":
            continue
        if group != group_before:
            table.add_row(Text(GROUPS.get(group, group), style="bold"))
            group_before = group
        _, whole, stratum = split_name(figure.name)
        table.add_row(*_summary_row(figure, outcome.get(figure.name), stratum if whole in names else ""))
    return table


def _summary_row(figure: Figure, passed: bool | None, stratum: str) -> list[RenderableType]:
    """A stratum below its whole is named by itself."""
    text = describe(figure.name)
    mark, style = {None: (" ", ""), True: ("✓", "green"), False: ("✗", "red")}[passed]
    return [
        Text.assemble((f"{mark} ", style), (f"  {stratum}", "dim") if stratum else text.label),
        Text(format_value(figure.value, text.unit), style=f"bold {style}" if style else ""),
        Text(format_interval(figure, with_unit=False), style="dim" if stratum else ""),
        Text("" if figure.n is None else f"{figure.n:,}", style="dim"),
        Text(judged_by(figure), style="dim"),
    ]
