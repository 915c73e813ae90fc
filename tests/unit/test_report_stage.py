"""The report takes figures from every step that leaves any."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rlaif.evaluation.checks import Check
from rlaif.evaluation.records import Curves, LabelSamples, PFirstHistogram
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


def test_sections_of_one_title_say_which_round_they_are_of() -> None:
    rows = [{"step": 1.0, "policy/reward": 0.5}]
    page = report(
        labels_1=Told(sections=(PFirstHistogram(p_first=(0.5,)), LabelSamples(labels=(), hint="A few."))),
        policy_1=Told(sections=(Curves.from_rows(rows),)),
        labels_2=Told(sections=(PFirstHistogram(p_first=(0.7,)), LabelSamples(labels=(), hint="A few."))),
        policy_2=Told(sections=(Curves.from_rows(rows), Curves.from_rows(rows, title="Only here"))),
        evaluation=told(0.4, policy__kl=1.0),
    )
    titles = [section.hint if isinstance(section, LabelSamples) else section.title for section in page.sections]
    assert titles == [
        *("Labels: labels_1", "labels_1: A few.", "Reinforcement learning: policy_1"),
        *("Labels: labels_2", "labels_2: A few.", "Reinforcement learning: policy_2", "Only here"),
    ]


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


def test_parts_of_the_time_of_a_step_that_was_made_before_are_left_out() -> None:
    parts = Told(figures=(Figure(name="time/policy/sample", value=3.0),))
    made = Work(
        step="report", directory=Path(), inputs={"figures": ()}, seed=0, told={"policy": parts}, seconds={"policy": 5.0}
    )
    reused = replace(made, seconds={"policy": 0.0})
    names = [
        [figure.name for figure in ReportStage(Dialogue()).told(work).figures if "/policy" in figure.name]
        for work in (made, reused)
    ]
    assert names == [["time/policy", "time/policy/sample"], ["time/policy"]]
