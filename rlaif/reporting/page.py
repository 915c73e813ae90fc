"""``report.html`` and ``report.json``: both are written atomically and are the same bytes for the same input."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from rlaif.artifacts import atomic_write
from rlaif.evaluation.attacks import all_attacks
from rlaif.evaluation.probe import HEADINGS, by_attack
from rlaif.reporting import plots
from rlaif.reporting.catalog import (
    GROUPS,
    describe,
    format_interval,
    format_value,
    judged_by,
    sort_figures,
    split_name,
)
from rlaif.reporting.checks import verdict
from rlaif.reporting.records import ReportInput
from rlaif.types import Figure

_TEMPLATES = Path(__file__).parent / "templates"
_WIN_RATES = (
    "policy/win_rate_vs_sft",
    "policy/win_rate_vs_sft_length_controlled",
    "policy/win_rate_vs_sft_llm_judge",
)
_HARMLESS_RATES = ("policy/harmless_rate", "sft/harmless_rate")


def write_report(report: ReportInput, directory: Path) -> Path:
    """Write ``report.json`` and ``report.html``, or what ``report.kind`` names them.

    Args:
        report: What to show.
        directory: An existing directory.

    Returns:
        The path of the page.

    Raises:
        StoreError: The directory cannot be written.
    """
    atomic_write(directory / f"{report.kind}.json", _bytes(figures_json(report.figures)))
    path = directory / f"{report.kind}.html"
    atomic_write(path, _bytes(render_html(report)))
    return path


def figures_json(figures: Iterable[Figure]) -> str:
    """The figures as a JSON list of records ``{name, value, low, high, n[, note]}``, sorted by name.

    Raises:
        ValueError: A value is not finite, or a name occurs twice: such a figure is undefined and must be absent.

    >>> print(figures_json([Figure(name="policy/kl", value=1.5, n=4)]), end="")
    [
      {"name": "policy/kl", "value": 1.5, "low": null, "high": null, "n": 4}
    ]
    """
    rows: dict[str, str] = {}
    for figure in figures:
        bounds = [bound for bound in (figure.low, figure.high) if bound is not None]
        if not all(map(math.isfinite, [figure.value, *bounds])):
            raise ValueError(f"{figure.name}: {figure.value} [{figure.low}, {figure.high}] is not finite; leave it out")
        if figure.name in rows:
            raise ValueError(f"{figure.name}: given twice")
        record = {"name": figure.name, "value": figure.value, "low": figure.low, "high": figure.high, "n": figure.n}
        rows[figure.name] = json.dumps(record | ({"note": figure.note} if figure.note else {}), ensure_ascii=False)
    if not rows:
        return "[]\n"
    return "[\n  " + ",\n  ".join(rows[name] for name in sorted(rows)) + "\n]\n"


def render_html(report: ReportInput) -> str:
    """The page as one string that needs nothing else: style and plots are inside, there is no script."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["unbroken"] = lambda text: text.replace(" %", "\N{NO-BREAK SPACE}%")
    environment.globals.update(
        describe=describe, format_interval=format_interval, format_value=format_value, judged_by=judged_by
    )
    attacks = by_attack(report.figures)
    headline, times = _split_times([figure for figure in report.figures if not _is_of_one_attack(figure)])
    page = environment.get_template("report.html.j2").render(
        report=report,
        verdict=report.verdict or verdict(report.figures, report.task, report.confidence),
        attacks=attacks,
        attack_headings=HEADINGS,
        attack_words={attack.name: attack.words for attack in all_attacks()},
        groups=_grouped(headline),
        failed=[check for check in report.checks if not check.passed],
        failed_figures={check.figure for check in report.checks if not check.passed},
        passed=[check for check in report.checks if check.passed],
        plots={name: Markup(svg) for name, svg in _draw(report).items()},
        reliability=[(curve, Markup(plots.reliability_diagram(curve))) for curve in report.reliability if curve.bins],
        time_figures=times,
    )
    return page.rstrip() + "\n"


def _bytes(text: str) -> bytes:
    """UTF-8; a lone surrogate, which JSON input may hold, is shown as its escape."""
    return text.encode("utf-8", "backslashreplace")


def _draw(report: ReportInput) -> dict[str, str]:
    by_name = {figure.name: figure for figure in report.figures}
    drawn = {}
    if wins := [figure for name in _WIN_RATES for figure in _with_strata(name, by_name)]:
        drawn["win_rates"] = plots.rates_with_intervals(wins, name="win-rates", parity=True)
    if harmless := [figure for name in _HARMLESS_RATES for figure in _with_strata(name, by_name)]:
        drawn["harmless_rates"] = plots.rates_with_intervals(harmless, name="harmless-rates", parity=False)
    if sure := _with_strata("labeler/alignment_by_confidence", by_name):
        drawn["confidence"] = plots.rates_with_intervals(sure, name="confidence", parity=True)
    if flips := _with_strata("probe/flip_rate", by_name) or _with_strata("probe/win_rate_vs_policy", by_name):
        worst_first = sorted(flips, key=lambda figure: (figure.name.count("/"), -figure.value))
        drawn["flips"] = plots.rates_with_intervals(worst_first, name="flips", parity=False)
    if report.p_first:
        drawn["labels"] = plots.label_histogram(report.p_first)
    if report.curves:
        drawn["curves"] = plots.training_curves(report.curves)
    if report.stage_seconds:
        drawn["times"] = plots.stage_times(list(report.stage_seconds.items()))
    return drawn


def _is_of_one_attack(figure: Figure) -> bool:
    group, _, attack = split_name(figure.name)
    return group == "probe" and attack != ""


def _with_strata(name: str, by_name: dict[str, Figure]) -> list[Figure]:
    whole = [by_name[name]] if name in by_name else []
    return whole + [by_name[other] for other in sorted(by_name) if other.startswith(f"{name}/")]


def _split_times(figures: Sequence[Figure]) -> tuple[list[Figure], list[Figure]]:
    ordered = sort_figures(list(figures))
    return (
        [figure for figure in ordered if not figure.name.startswith("time/")],
        [figure for figure in ordered if figure.name.startswith("time/")],
    )


def _grouped(figures: Sequence[Figure]) -> list[tuple[str, list[Figure]]]:
    """Headings with their figures, in the order given."""
    groups: dict[str, list[Figure]] = {}
    for figure in figures:
        group = split_name(figure.name)[0]
        groups.setdefault(GROUPS.get(group, group.replace("_", " ")), []).append(figure)
    return list(groups.items())
