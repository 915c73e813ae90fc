"""A picture file of validation curves, pooled over seeds."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from rlaif.evaluation.pooled_curves import PooledCurve
from rlaif.reporting.plots import ACCENT, INK, MUTED, PLOT_STYLE, SECOND
from rlaif.types import as_unicode

FORMATS = ("svg", "png", "pdf")
_WITHOUT_DATE: Mapping[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}


def curve_picture(panels: Sequence[tuple[str, Mapping[str, PooledCurve]]], form: str) -> bytes:
    """Draw one panel per group of runs: the mean over seeds as a line, its interval as a band, dashed where greedy.

    Args:
        panels: Title and curves of each group.
        form: Of :data:`FORMATS`.

    Returns:
        The file; the same input gives the same bytes.
    """
    buffer = io.BytesIO()
    with mpl.rc_context({**PLOT_STYLE, "svg.hashsalt": "curves"}):
        canvas = Canvas(figsize=(max(5.2, 4.2 * len(panels)), 3.4), dpi=150)
        first: Axes | None = None
        for number, (title, curves) in enumerate(panels, 1):
            axes = canvas.add_subplot(1, len(panels), number, sharey=first)
            first = first or axes
            _draw(axes, title, curves)
        if first is not None:
            first.set_ylabel("win rate against SFT")
        canvas.savefig(buffer, format=form, facecolor="white", metadata=_WITHOUT_DATE.get(form))
    return buffer.getvalue()


def _draw(axes: Axes, title: str, curves: Mapping[str, PooledCurve]) -> None:
    axes.set_title(as_unicode(title), loc="left", fontsize=10, color=INK)
    axes.set_xlabel("optimizer step")
    axes.axhline(0.5, color=MUTED, linewidth=1.0, linestyle=(0, (1, 3)))
    colors: dict[str, str] = {}
    for label, points in curves.items():
        stratum, _, decoding = label.partition(", ")
        color = colors.setdefault(stratum, (ACCENT, SECOND, INK)[len(colors) % 3])
        steps, pooled = [step for step, _ in points], [each for _, each in points]
        style = "--" if decoding == "greedy" else "-"
        axes.plot(steps, [each.value for each in pooled], style, color=color, linewidth=2.0, label=as_unicode(label))
        bands = [(step, each.low, each.high) for step, each in points if each.low is not None and each.high is not None]
        lows, highs = [low for _, low, _ in bands], [high for _, _, high in bands]
        axes.fill_between([step for step, _, _ in bands], lows, highs, color=color, alpha=0.12, linewidth=0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.legend(frameon=False, fontsize=9, labelcolor=INK)
