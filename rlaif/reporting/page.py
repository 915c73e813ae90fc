"""A page as ``<kind>.html`` and ``<kind>.json``: written atomically, the same bytes for the same input."""

from __future__ import annotations

import html
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from rlaif.artifacts import atomic_write
from rlaif.evaluation import records
from rlaif.evaluation.catalogue import describe, heading, sort_figures, split_name
from rlaif.evaluation.figures import RatePlot
from rlaif.evaluation.formats import format_interval, format_value, judged_by
from rlaif.reporting import plots
from rlaif.reporting.page_content import Page
from rlaif.types import Figure

_TEMPLATES = Path(__file__).parent / "templates"
SectionT = TypeVar("SectionT", bound=records.Section)


def write_page(page: Page, directory: Path) -> Path:
    """Write ``<kind>.json`` with the figures and ``<kind>.html``.

    Args:
        page: What to show.
        directory: An existing directory.

    Returns:
        The path of the HTML file.

    Raises:
        StoreError: The directory cannot be written.
    """
    atomic_write(directory / f"{page.kind}.json", _bytes(figures_json(page.figures)))
    path = directory / f"{page.kind}.html"
    atomic_write(path, _bytes(render_html(page)))
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


def render_html(page: Page) -> str:
    """The page as one string that needs nothing else: style and plots are inside, there is no script."""
    tables = [table for table in _of(page, records.CrossTable) if table.rows]
    in_tables = {figure.name for table in tables for row in table.rows.values() for figure in row.values()}
    ordered = sort_figures([figure for figure in page.figures if figure.name not in in_tables])
    rate_plots = _rate_plots(page.figures)
    text = (
        _environment(page)
        .get_template("report.html.j2")
        .render(
            page=page,
            failed=[check for check in page.checks if not check.passed],
            failed_figures={check.figure for check in page.checks if not check.passed},
            passed=[check for check in page.checks if check.passed],
            headline_plots=[(plot, figures) for plot, figures in rate_plots if plot.is_headline],
            other_plots=[(plot, figures) for plot, figures in rate_plots if not plot.is_headline],
            cross_tables=tables,
            groups=_grouped([figure for figure in ordered if not figure.name.startswith("time/")]),
            histograms=[section for section in _of(page, records.PFirstHistogram) if section.p_first],
            reliability=_numbered([diagram for diagram in _of(page, records.ReliabilityDiagram) if diagram.bins]),
            validations=[
                section for section in _of(page, records.ValidationCurves) if section.win_rates or section.rewards
            ],
            curves=[section for section in _of(page, records.Curves) if section.points],
            line_plots=_of(page, records.LinePlot),
            side_by_side=[section for section in _of(page, records.SideBySide) if section.rows],
            label_samples=[section for section in _of(page, records.LabelSamples) if section.labels],
            plain=[section for section in page.sections if isinstance(section, records.Table | records.Text)],
            time_figures=[figure for figure in ordered if figure.name.startswith("time/")],
        )
    )
    return text.rstrip() + "\n"


def _environment(page: Page) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    confidence = f"{100 * page.confidence:g}"
    environment.filters["unbroken"] = lambda text: text.replace(" %", "\N{NO-BREAK SPACE}%")
    environment.filters["prose"] = lambda text: Markup(
        html.escape(text.replace("{confidence}", confidence), quote=False)
    )
    environment.tests["table"] = lambda section: isinstance(section, records.Table)
    environment.globals.update(
        describe=describe, format_interval=format_interval, format_value=format_value, judged_by=judged_by, draw=plots
    )
    return environment


def _bytes(text: str) -> bytes:
    """UTF-8; a lone surrogate, which JSON input may hold, is shown as its escape."""
    return text.encode("utf-8", "backslashreplace")


def _of(page: Page, kind: type[SectionT]) -> list[SectionT]:
    return [section for section in page.sections if isinstance(section, kind)]


def _numbered(diagrams: Iterable[records.ReliabilityDiagram]) -> list[tuple[records.ReliabilityDiagram, int]]:
    """Each diagram with its number among those of the same title."""
    counts: Counter[str] = Counter()
    numbered = []
    for diagram in diagrams:
        counts[diagram.title] += 1
        numbered.append((diagram, counts[diagram.title]))
    return numbered


def _rate_plots(figures: Iterable[Figure]) -> list[tuple[RatePlot, list[Figure]]]:
    """The plots that figures declare, in their order, with the figures of each."""
    rows: dict[RatePlot, list[Figure]] = {}
    for figure in sort_figures(figures):
        plot = describe(figure.name).plot
        if plot is not None:
            rows.setdefault(plot, []).append(figure)
    return sorted(rows.items(), key=lambda item: (item[0].order, item[0].name))


def _grouped(figures: Sequence[Figure]) -> list[tuple[str, list[Figure]]]:
    """Headings with their figures, in the order given."""
    groups: dict[str, list[Figure]] = {}
    for figure in figures:
        groups.setdefault(heading(split_name(figure.name)[0]), []).append(figure)
    return list(groups.items())
