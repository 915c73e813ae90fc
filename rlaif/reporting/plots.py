"""The report's plots as inline SVG.

The strings are the same for the same input in every process (no dates, no random ids), hold no
reference to anything outside, and take their colours and fonts from the page's style sheet.
"""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from rlaif.evaluation.catalogue import describe, split_name
from rlaif.evaluation.formats import format_interval, format_seconds, format_value, judged_by
from rlaif.evaluation.records import Curves, LinePanel, LinePlot, PFirstHistogram, ReliabilityDiagram, ValidationCurves
from rlaif.types import Figure, as_unicode

INK, MUTED, GRID, ACCENT, SECOND, SURFACE = "#10101a", "#60606a", "#d0d0da", "#2060c0", "#c06020", "#fefefa"
"""Stand-ins that :func:`_svg` replaces by the page's CSS variables."""
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    ACCENT: "var(--accent)",
    SECOND: "var(--second)",
    SURFACE: "var(--surface)",
}
_CSS_PIXELS_PER_INCH = 100
_LONGEST_NAME = 48
"""Characters of a name beside a plot, such as a judge's whose model is a path; a longer one would leave no room."""
PLOT_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 10.0,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.labelcolor": MUTED,
    "axes.labelsize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": GRID,
    "xtick.labelcolor": MUTED,
    "xtick.major.size": 0.0,
    "ytick.color": GRID,
    "ytick.labelcolor": MUTED,
    "ytick.major.size": 0.0,
    "figure.facecolor": "none",
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.wspace": 0.06,
}


def label_histogram(histogram: PFirstHistogram, number: int = 1) -> Markup:
    """Histogram of the labels' P(first), twenty bins over [0, 1].

    Args:
        histogram: The labels.
        number: Of the histogram on its page, from 1; makes the ids of its elements unique there.
    """
    with mpl.rc_context(PLOT_STYLE):
        canvas, axes = _axes(3.2, 3.0)
        axes.hist(histogram.p_first, bins=[i / 20 for i in range(21)], color=ACCENT, edgecolor=SURFACE, linewidth=1.0)
        axes.axvline(0.5, color=MUTED, linewidth=1.0, linestyle=(0, (3, 3)))
        axes.set(xlim=(0, 1), xlabel="P(first is better)", ylabel="pairs")
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
        axes.grid(axis="x", visible=False)
        return _svg(
            canvas,
            _numbered("labels", number),
            "Histogram of the labels' probability that the first response is better",
        )


def reliability_diagram(reliability: ReliabilityDiagram, number: int = 1) -> Markup:
    """Predicted against observed share of wins; a dot's area is its number of pairs.

    Args:
        reliability: The bins.
        number: Of the diagram among those of the same title on the page, from 1.
    """
    with mpl.rc_context(PLOT_STYLE):
        canvas, axes = _axes(3.2, 3.0)
        largest = max(bin_.count for bin_ in reliability.bins)
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1.0, linestyle=(0, (3, 3)))
        predicted = [bin_.predicted for bin_ in reliability.bins]
        observed = [bin_.observed for bin_ in reliability.bins]
        areas = [12 + 140 * bin_.count / largest for bin_ in reliability.bins]
        axes.plot(predicted, observed, color=ACCENT, linewidth=1.2, alpha=0.5)
        axes.scatter(predicted, observed, s=areas, color=ACCENT, edgecolor=SURFACE, linewidth=1.0, zorder=3)
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
        axes.set_xlabel("predicted P(first is better)")
        axes.set_ylabel("observed share")
        ticks = [0, 0.25, 0.5, 0.75, 1]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        name = _numbered(f"reliability-{reliability.title}", number)
        return _svg(canvas, name, f"Reliability diagram: {reliability.title}")


def training_curves(curves: Curves, number: int = 1) -> Markup:
    """Reward or margin, KL and length over RL steps, side by side: thin line raw, thick line running mean.

    Args:
        curves: The steps.
        number: Of the curves on their page, from 1.
    """
    panels = [
        ("reward", "reward", [(point.step, point.reward) for point in curves.points]),
        ("margin, nats per pair", "margin", [(point.step, point.margin) for point in curves.points]),
        ("KL from SFT, nats per response", "kl", [(point.step, point.kl) for point in curves.points]),
        ("response length, tokens", "length", [(point.step, point.length) for point in curves.points]),
    ]
    measured = [(title, [(x, y) for x, y in pairs if y is not None]) for title, _, pairs in panels]
    measured = [(title, pairs) for title, pairs in measured if pairs]
    with mpl.rc_context(PLOT_STYLE):
        canvas = Canvas(figsize=(9.6, 2.7))
        for index, (title, pairs) in enumerate(measured):
            axes = canvas.add_subplot(1, len(measured), index + 1)
            steps, values = [x for x, _ in pairs], [y for _, y in pairs]
            axes.plot(steps, values, color=ACCENT, linewidth=1.0, alpha=0.3)
            axes.plot(steps, _running_mean(values), color=ACCENT, linewidth=2.0)
            axes.set_title(title, loc="left", fontsize=10, color=INK)
            axes.set_xlabel("optimizer step")
            axes.grid(axis="x", visible=False)
            axes.locator_params(axis="both", nbins=5)
        learned = "Margin" if any(point.margin is not None for point in curves.points) else "Reward"
        return _svg(canvas, _numbered("curves", number), f"{learned}, KL and response length over the steps of RL")


def validation_curves(curves: ValidationCurves, number: int = 1) -> Markup:
    """Win rates against SFT over RL steps, a colour per stratum, dashed where decoded greedily; and the reward.

    Args:
        curves: The validations.
        number: Of the curves on their page, from 1.
    """
    num_panels = bool(curves.win_rates) + bool(curves.rewards)
    with mpl.rc_context(PLOT_STYLE):
        canvas = Canvas(figsize=(9.6, 3.2))
        if curves.win_rates:
            _win_rates_over_steps(_step_axes(canvas, num_panels, 1, "win rate against SFT"), curves)
        if curves.rewards:
            axes = _step_axes(canvas, num_panels, num_panels, "reward")
            axes.plot(*zip(*curves.rewards, strict=True), color=ACCENT, linewidth=2.0)
        return _svg(canvas, _numbered("validation", number), "Win rate against SFT and reward on validation prompts")


def _step_axes(canvas: Canvas, num_panels: int, number: int, title: str) -> Axes:
    axes = canvas.add_subplot(1, num_panels, number)
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.set_xlabel("optimizer step")
    axes.grid(axis="x", visible=False)
    return axes


def _win_rates_over_steps(axes: Axes, curves: ValidationCurves) -> None:
    colors: dict[str, str] = {}
    axes.axhline(0.5, color=MUTED, linewidth=1.0, linestyle=(0, (1, 3)))
    for label, points in curves.win_rates.items():
        stratum, _, decoding = label.partition(", ")
        color = colors.setdefault(stratum, (ACCENT, SECOND, INK)[len(colors) % 3])
        style = "--" if decoding == "greedy" else "-"
        axes.plot(*zip(*points, strict=True), style, color=color, linewidth=2.0, label=as_unicode(label))
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.legend(frameon=False, fontsize=9, labelcolor=INK)


def line_plot(plot: LinePlot, number: int = 1) -> Markup:
    """Panels of lines, one colour per line; side by side, or one above the other on one axis.

    Args:
        plot: The lines.
        number: Of the plot among those of the same title on its page, from 1.
    """
    count = len(plot.panels)
    rows, columns, height = (count, 1, 0.6 + 1.35 * count) if plot.is_stacked else (1, count, 3.2)
    with mpl.rc_context(PLOT_STYLE):
        canvas = Canvas(figsize=(9.6, height))
        first: Axes | None = None
        for place, panel in enumerate(plot.panels, start=1):
            axes = canvas.add_subplot(rows, columns, place, sharex=first if plot.is_stacked else None)
            first = first or axes
            _panel(axes, panel, plot.marks, names_marks=axes is first)
            if plot.is_stacked and place < count:
                axes.set_xlabel("")
            _legend(axes, is_outside=plot.is_stacked)
        return _svg(canvas, _numbered(plot.title, number), "; ".join(panel.title for panel in plot.panels))


def _panel(axes: Axes, panel: LinePanel, marks: Mapping[str, float], *, names_marks: bool) -> None:
    styles = [(ACCENT, "-"), (SECOND, "-"), (INK, "--"), (MUTED, ":")]
    for (label, points), (color, style) in zip(panel.lines.items(), styles, strict=False):
        axes.plot(*zip(*points, strict=True), style, color=color, linewidth=2.0, label=as_unicode(label))
    for (label, x), style in zip(marks.items(), ("-", "--", ":"), strict=False):
        axes.axvline(x, color=MUTED, linewidth=1.2, linestyle=style, label=as_unicode(label) if names_marks else None)
    axes.set_title(panel.title, loc="left", fontsize=10, color=INK)
    axes.set_xlabel(panel.x_label)
    axes.grid(axis="x", visible=False)
    axes.locator_params(axis="both", nbins=5)


def _legend(axes: Axes, *, is_outside: bool) -> None:
    """Inside, where the lines leave room, or to the right of the axes; there a line alone needs no name."""
    if not is_outside:
        axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    elif len(axes.get_legend_handles_labels()[1]) > 1:
        axes.legend(
            frameon=False, fontsize=9, labelcolor=INK, loc="upper left", bbox_to_anchor=(1.0, 1.1), borderaxespad=0.2
        )


def rates_with_intervals(figures: Sequence[Figure], *, name: str, parity: bool) -> Markup:
    """Dot and whisker for every rate.

    Args:
        figures: Rates in [0, 1], top row first.
        name: Of the plot; makes its ids unique on the page.
        parity: Draw the line of parity at 50 %.
    """
    rows = list(reversed(figures))
    judges = list(dict.fromkeys(judged_by(figure) for figure in rows))
    labels = [_row_label(figure, with_judge=len(judges) > 1).split("\n") for figure in rows]
    with mpl.rc_context(PLOT_STYLE):
        canvas, axes = _axes(9.6, 0.7 + (0.5 if len(judges) > 1 else 0.4) * len(rows))
        if parity:
            axes.axvline(0.5, color=INK, linewidth=1.2, linestyle=(0, (3, 3)))
        for y, figure in enumerate(rows):
            _dot_and_whisker(axes, y, figure)
        lows = [figure.value if figure.low is None else figure.low for figure in rows]
        highs = [figure.value if figure.high is None else figure.high for figure in rows]
        span = (max(-0.03, min(0.4 if parity else 0.6, min(lows) - 0.04)), min(1.03, max(0.7, max(highs) + 0.04)))
        axes.set(xlim=span, ylim=(-0.5, len(rows) - 0.3))
        axes.set_yticks(range(len(rows)), ["\n".join(map(_shortened, names)) for names in labels])
        if len(judges) == 1 and judges[0]:
            axes.set_xlabel(f"judged by {_shortened(judges[0])}")
        axes.tick_params(axis="y", labelcolor=INK, pad=10)
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
        axes.grid(axis="y", visible=False)
        description = "; ".join(
            f"{_row_label(row, with_judge=True)} {100 * row.value:.1f} % {format_interval(row, 'rate')}"
            for row in figures
        )
        return _svg(canvas, name, description)


def _dot_and_whisker(axes: Axes, y: int, figure: Figure) -> None:
    color = MUTED if split_name(figure.name)[2] else ACCENT
    if figure.low is not None and figure.high is not None:
        axes.plot([figure.low, figure.high], [y, y], color=color, linewidth=3.0, solid_capstyle="round", alpha=0.45)
    axes.scatter([figure.value], [y], s=64, color=color, edgecolor=SURFACE, linewidth=1.2, zorder=3)
    axes.annotate(
        format_value(figure.value, "rate"),
        (figure.value, y),
        (0, 8),
        textcoords="offset points",
        ha="center",
        fontsize=9.5,
        color=INK,
        bbox={"boxstyle": "square,pad=0.1", "facecolor": SURFACE, "edgecolor": "none"},  # over the line of parity
    )


def stage_times(stage_seconds: Mapping[str, float]) -> Markup:
    """One bar per stage; a stage that was reused from the store says so."""
    rows = list(reversed([*stage_seconds.items()]))
    with mpl.rc_context(PLOT_STYLE):
        canvas, axes = _axes(9.6, 0.5 + 0.32 * len(rows))
        axes.barh(range(len(rows)), [seconds for _, seconds in rows], height=0.62, color=ACCENT)
        for y, (_, seconds) in enumerate(rows):
            shown = format_seconds(seconds) if seconds > 0 else "reused from store"
            axes.annotate(shown, (seconds, y), (6, 0), textcoords="offset points", va="center", fontsize=9.5)
        axes.set_yticks(range(len(rows)), [name.replace("_", " ") for name, _ in rows])
        axes.tick_params(axis="y", labelcolor=INK, pad=6)
        axes.set_xticks([])
        axes.set_xlim(0, 1.12 * max([1e-9, *[seconds for _, seconds in rows]]))
        axes.spines["bottom"].set_visible(False)
        axes.grid(visible=False)
        return _svg(canvas, "times", "Seconds per stage")


def _axes(width: float, height: float) -> tuple[Canvas, Axes]:
    canvas = Canvas(figsize=(width, height))
    return canvas, canvas.add_subplot()


def _row_label(figure: Figure, *, with_judge: bool) -> str:
    judge, owner = judged_by(figure), {"sft": "SFT: ", "policy": "policy: "}.get(split_name(figure.name)[0], "")
    label = describe(figure.name).label
    label = label if "win rate" in label else owner + label
    return f"{label}\n{judge}" if judge and with_judge else label


def _shortened(name: str) -> str:
    """A name with the middle of a long one left out: how it begins and ends tells paths apart."""
    half = _LONGEST_NAME // 2
    return name if len(name) <= _LONGEST_NAME else f"{name[:half]}…{name[1 - half :]}"


def _running_mean(values: Sequence[float]) -> list[float]:
    window = max(1, len(values) // 12)
    return [sum(values[max(0, i - window) : i + 1]) / (i + 1 - max(0, i - window)) for i in range(len(values))]


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"


def _svg(canvas: Canvas, name: str, description: str) -> Markup:
    """Render, then strip what points outside, make ids unique to this plot, and use CSS colours."""
    salt = re.sub(r"\W+", "-", name.lower())
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": salt}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the reader's fonts show the text
        canvas.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\s+xmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'\bid="', f'id="{salt}-', text)
    text = re.sub(r'(href="#|url\(#)', rf"\1{salt}-", text)
    text = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", text)
    label = html.escape(description.replace("\n", " "))
    width = round(_CSS_PIXELS_PER_INCH * canvas.get_figwidth())
    view_box = re.search(r'viewBox="[^"]*"', text)
    assert view_box is not None
    opening = f'<svg role="img" aria-label="{label}" style="width: {width}px" {view_box.group()}>'
    text = opening + text[text.index(">") + 1 :]
    for color, variable in _VARIABLES.items():
        text = text.replace(color, variable)
    return Markup(text.strip())
