"""The report takes figures from every step that leaves any."""

from __future__ import annotations

from pathlib import Path

from rlaif.evaluation.checks import Check
from rlaif.pipeline.stage import Input, Told, Work
from rlaif.stages.report import ReportStage
from rlaif.tasks.base import Dialogue
from rlaif.types import Figure


def told(objective: float | None, *checks: Check, **figures: float) -> Told:
    found = tuple(Figure(name=name.replace("__", "/"), value=value) for name, value in figures.items())
    return Told(figures=found, checks=checks, objective=objective)


def report(**steps: Told) -> Told:
    figures = tuple(Input(step=name, stage="evaluation") for name, step in steps.items() if step.figures)
    seconds = dict.fromkeys(steps, 1.0)
    work = Work(step="report", directory=Path(), inputs={"figures": figures}, seed=0, told=dict(steps), seconds=seconds)
    return ReportStage(Dialogue()).told(work)


def test_figures_of_all_steps_are_there_and_of_one_name_the_last() -> None:
    passed, failed = (
        Check(name="it works", passed=ok, detail="", figure="policy/win_rate_vs_sft") for ok in (True, False)
    )
    page = report(
        evaluation_1=told(0.4, failed, policy__win_rate_vs_sft=0.4, policy__kl=1.0),
        evaluation_2=told(0.6, passed, policy__win_rate_vs_sft=0.6),
        words=told(None, policy__vocabulary=70.0),
        sft=Told(line="trained", title="nobody"),
    )
    values = {figure.name: figure.value for figure in page.figures if not figure.name.startswith("time/")}
    assert values == {"policy/win_rate_vs_sft": 0.6, "policy/kl": 1.0, "policy/vocabulary": 70.0}
    assert page.objective == 0.6 and page.checks == (passed,) and page.page == "report"
    assert "60.0 %" in page.verdict and page.title == "nobody"
