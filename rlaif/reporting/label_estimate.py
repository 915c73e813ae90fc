"""The table of ``estimate=true``: pairs, questions, tokens, time and money of labels."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from rlaif.engines.spending import Spending
from rlaif.evaluation.formats import format_seconds
from rlaif.labeling.cost import Prices
from rlaif.labeling.estimate import LabelEstimate


def print_estimate(estimate: LabelEstimate, prices: Prices, console: Console) -> None:
    """Print a table of what labels would take, and what it rests on.

    Args:
        estimate: Of one step.
        prices: What it would cost.
        console: Where to print.
    """
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("")
    for title in ("expected", "at most"):
        table.add_column(title, justify="right", no_wrap=True)
    both = (estimate.expected, estimate.at_most)
    table.add_row("pairs", f"{estimate.num_pairs:,}", "")
    table.add_row("questions", *(f"{spending.num_questions:,}" for spending in both))
    table.add_row("tokens read", *(f"{spending.num_prompt_tokens:,}" for spending in both))
    table.add_row("tokens written", *(f"{spending.num_reply_tokens:,}" for spending in both))
    table.add_row("time", *_times(estimate))
    table.add_row("money", *(_usd(_money(spending, prices)) for spending in both))
    table.add_row("people would cost", _usd(prices.human_usd_per_label * estimate.num_pairs), "")
    console.print(table)
    console.print()
    for note in estimate.notes:
        console.print(f"{note[0].upper()}{note[1:]}.", markup=False, soft_wrap=True, style="dim")
    console.print("Nothing was labeled; leave estimate=true out to begin.", soft_wrap=True)


def _times(estimate: LabelEstimate) -> tuple[str, str]:
    """The longest replies are not timed: how a model's speed changes with them is not measured."""
    if not estimate.expected.num_questions:
        return format_seconds(0.0), ""
    seconds = estimate.expected.seconds / estimate.num_processes
    return (format_seconds(seconds) if seconds else "not estimated"), ""


def _money(spending: Spending, prices: Prices) -> float | None:
    if prices.usd_per_hour is not None and spending.num_questions and not spending.seconds:
        return None
    return prices.usd(spending)


def _usd(value: float | None) -> str:
    return "not known" if value is None else f"{value:,.2f} USD"
