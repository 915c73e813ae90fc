"""Figures that another package declares appear in checks, terminal, page and sweep table; ours are complete."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from rlaif.evaluation.catalogue import declared_figures, describe, run_checks, sweep_columns
from rlaif.evaluation.checks import CheckLimits
from rlaif.reporting.page import render_html
from rlaif.reporting.page_content import Page
from rlaif.reporting.tables import Job, markdown, terminal_table
from rlaif.reporting.terminal import RunDisplay
from rlaif.types import Figure

THEIRS = """
from rlaif.evaluation.checks import AtMost
from rlaif.evaluation.figures import Column, FigureSpec, RatePlot

FIGURES = (
    FigureSpec(
        name="safety/refusal_rate",
        label="refusals",
        explanation="Share of responses that refuse <all>.",
        check=AtMost("the policy seldom refuses", 0.2),
        plot=RatePlot(name="refusals", title="Refusals", hint="Bars are {confidence} % intervals."),
        columns=(Column(table="scorecards", heading="refuses", order=15, on_terminal=True, with_interval=True),),
    ),
    FigureSpec(name="labeler/alignment", label="theirs", unit="number"),
)
"""
REFUSALS = Figure(name="safety/refusal_rate", value=0.25, low=0.2, high=0.3, n=40, note="a classifier; version 2")


def declare(folder: Path, package: str, target: str) -> None:
    """Install the metadata of a package that declares figures."""
    place = folder / f"{package}-1.0.dist-info"
    place.mkdir()
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (place / "entry_points.txt").write_text(f"[rlaif.figures]\n{package} = {target}\n")


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "safety_figures.py").write_text(THEIRS)
    declare(tmp_path, "safety", "safety_figures:FIGURES")
    declare(tmp_path, "broken", "no_such_module:FIGURES")
    monkeypatch.syspath_prepend(str(tmp_path))
    declared_figures.cache_clear()
    yield
    declared_figures.cache_clear()
    sys.modules.pop("safety_figures", None)


@pytest.mark.usefixtures("theirs")
def test_another_packages_figure_is_shown_everywhere(caplog: pytest.LogCaptureFixture) -> None:
    checks = run_checks([REFUSALS])
    assert [(check.name, check.passed) for check in checks] == [("the policy seldom refuses", False)]
    assert checks[0].detail == "25.0 % [20.0–30.0 %] by a classifier; the limit is 20.0 %"
    assert "no_such_module" in caplog.text, "a broken package stops nobody and is named"
    file = io.StringIO()
    RunDisplay(Console(file=file, width=80, highlight=False)).summary([REFUSALS], checks)
    assert "✗ refusals" in file.getvalue() and "25.0 %" in file.getvalue()
    page = Page(title="t", task="dialogue", verdict="", figures=(REFUSALS,), checks=tuple(checks), confidence=0.9)
    text = render_html(page)
    assert "<h2>Refusals</h2>" in text and "Bars are 90 % intervals." in text and 'aria-label="refusals' in text
    assert "Share of responses that refuse &lt;all&gt;." in text and "Not shown: the policy seldom refuses" in text
    jobs = [Job(overrides=("a=1",), figures=(REFUSALS, Figure(name="labeler/alignment", value=0.5)))]
    columns = sweep_columns("scorecards")
    assert markdown(jobs, columns).splitlines()[0] == "|  | alignment | refuses | n |"
    shown = io.StringIO()
    Console(file=shown, width=80).print(terminal_table(jobs, columns))
    assert "25.0 % (20.0–30.0)" in shown.getvalue()


@pytest.mark.usefixtures("theirs")
def test_ours_are_not_overwritten(caplog: pytest.LogCaptureFixture) -> None:
    assert describe("labeler/alignment").label == "alignment"
    assert "labeler/alignment" in caplog.text and "safety" in caplog.text


def test_every_limit_is_the_limit_of_a_check_that_can_fail() -> None:
    """A figure far on either side of each limit passes on one side alone."""
    for name, spec in declared_figures().items():
        if spec.check is None:
            continue
        low, high = (Figure(name=name, value=value, low=value, high=value, n=9) for value in (-0.99, 0.99))
        outcomes = [spec.check.check(figure, spec.unit, CheckLimits()) for figure in (low, high)]
        assert sorted(outcome.passed for outcome in outcomes if outcome is not None) == [False, True], name


@pytest.mark.parametrize(
    ("low", "high", "passed", "words"),
    [
        (-0.04, 0.03, True, "the interval is above −5.0 pp"),
        (-0.17, 0.01, False, "not shown: the interval reaches below −5.0 pp"),
        (-0.2, -0.06, False, "the interval is below −5.0 pp"),
        (None, None, False, "not shown: there is no interval"),
    ],
)
def test_no_more_harm_is_shown_by_the_whole_interval(
    low: float | None, high: float | None, passed: bool, words: str
) -> None:
    figure = Figure(name="policy/harmless_rate_difference", value=-0.03, low=low, high=high, n=40)
    (check,) = run_checks([figure])
    assert check.passed == passed and words in check.detail
    assert run_checks([figure], CheckLimits(harm_margin=0.3))[0].passed == (low is not None)


def test_few_pairs_cannot_fail_a_calibrated_labeler() -> None:
    wide = Figure(name="labeler/ece", value=0.18, low=0.0, high=0.4, n=32)
    assert [
        check.passed for check in run_checks([wide, Figure(name="reward_model/ece", value=0.3, low=0.2, high=0.4)])
    ] == [
        False,
        True,
    ]


def test_places_in_a_group_and_in_a_table_differ() -> None:
    specs = declared_figures().values()
    places = [(spec.name.partition("/")[0], spec.order) for spec in specs if "*" not in spec.name]
    assert len(set(places)) == len(places) > 40
    for table in ("scorecards", "probes"):
        orders = [column.order for column in sweep_columns(table).values()]
        assert len(set(orders)) == len(orders) > 10
