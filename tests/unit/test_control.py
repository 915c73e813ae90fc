"""The verdict of the control follows from its rule, on planted worlds as well."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rlaif.evaluation.bandit import Bandit, solve
from rlaif.evaluation.control import LEADS, Verdict, control_in_words, control_verdict, judge_control, rule_in_words
from rlaif.evaluation.files import write_figures
from rlaif.evaluation.win_rate import win_rate_figures
from rlaif.functional.seeds import generator
from rlaif.pipeline.stage import Input, Told, Work
from rlaif.stages.control import ControlStage
from rlaif.stages.report import ReportStage
from rlaif.tasks.base import get_task
from rlaif.types import Comparison, Completion, Figure, Prompt


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.501, 0.60, "yes"),
        (0.501, 0.52, "yes"),  # small, and still above 50 %
        (0.50, 0.60, "not shown"),  # an end at 50 % is not above it
        (0.40, 0.49, "no"),
        (0.48, 0.549, "no"),  # a gain of 5 points is ruled out
        (0.48, 0.55, "not shown"),
        (0.30, 0.70, "not shown"),
        (None, None, "not shown"),
    ],
)
def test_the_rule(low: float | None, high: float | None, verdict: Verdict) -> None:
    assert control_verdict(low, high, min_gain=0.05) == verdict


def test_without_a_smallest_gain_no_needs_the_interval_below_parity() -> None:
    assert control_verdict(0.48, 0.51, min_gain=0.0) == "not shown"
    assert control_verdict(0.40, 0.499, min_gain=0.0) == "no"
    assert "below 50 %." in rule_in_words(0.95, 0.0) and "below 55 %, which" in rule_in_words(0.95, 0.05)


def figure(name: str, value: float, half: float, note: str = "simulated annotators; 3 raters") -> Figure:
    return Figure(name=name, value=value, low=value - half, high=value + half, n=400, note=note)


def test_greedy_decoding_and_annotators_come_first() -> None:
    greedy, sampled = LEADS
    figures = [
        figure(sampled, 0.9, 0.01),
        figure(f"{greedy}_llm_judge", 0.6, 0.01, "LLM judge pocket:judge; both orders"),
        figure(greedy, 0.3, 0.01),
        figure("policy/greedy_win_rate_vs_sft", 0.9, 0.01),
    ]
    assert judge_control(figures, min_gain=0.05).verdict == "no"
    without = judge_control(figures[:2], min_gain=0.05)
    assert without.verdict == "yes" and without.figure == figures[1]
    words = control_in_words(without, 0.95)
    assert words.endswith(
        "Yes: against imitation it wins 60.0 % of comparisons, both decoded greedily, 95 % interval 59.0–61.0 %,"
        " judged by LLM judge pocket:judge."
    )
    assert "both at evaluation.sampling.temperature" in control_in_words(
        judge_control(figures[:1], min_gain=0.05), 0.95
    )
    assert "Not shown: no win rate" in control_in_words(judge_control(figures[3:], min_gain=0.05), 0.95)


@lru_cache
def policies(student: float) -> tuple[Tensor, Tensor]:
    """After feedback and after imitation, of the bandit of arXiv 2402.12366; its teacher is at 80."""
    found = solve(Bandit(student=student))
    return found.rlaif, found.sft


@pytest.mark.parametrize(("student", "verdict"), [(40.0, "no"), (75.0, "yes")])
def test_planted_worlds(student: float, verdict: Verdict) -> None:
    """A perfect critic of a weak student does not reach the teacher (mean 51.8 against 70.7), of a strong one it passes
    the teacher (86.7): ten seeds of 400 prompts each."""
    rlaif, sft = policies(student)
    for seed in range(10):
        draws = generator(seed, "planted worlds")
        ours, theirs = (torch.multinomial(p, 400, True, generator=draws).tolist() for p in (rlaif, sft))
        assert win_verdict(ours, theirs) == verdict, seed


def test_equal_policies_on_few_prompts_show_nothing() -> None:
    assert win_verdict([1, 0] * 20, [0, 1] * 20) == "not shown"


def win_verdict(ours: list[int], theirs: list[int]) -> Verdict:
    pairs = [
        Comparison(
            prompt=Prompt(task="dialogue", text=str(number)),
            first=Completion(text=f"a {mine}"),
            second=Completion(text=f"b {other}"),
        )
        for number, (mine, other) in enumerate(zip(ours, theirs, strict=True))
    ]
    votes = [((mine > other) + 0.5 * (mine == other),) for mine, other in zip(ours, theirs, strict=True)]
    return judge_control(win_rate_figures(pairs, votes, "truth", name=LEADS[0]), min_gain=0.05).verdict


def test_the_report_begins_with_the_verdict_and_shows_the_rule(tmp_path: Path) -> None:
    write_figures(tmp_path, [figure(LEADS[0], 0.6, 0.05)])
    source = Input(step="evaluation", stage="evaluation", path=tmp_path)
    told = ControlStage().told(Work(step="control", directory=tmp_path, inputs={"figures": (source,)}, seed=0))
    assert told.line.startswith("yes: against imitation it wins 60.0 %")
    (section,) = told.sections
    assert "The rule: yes: the whole 95 % interval" in getattr(section, "text", "")
    reports = {"evaluation": Told(figures=(figure(LEADS[0], 0.6, 0.05),)), "control": told}
    page = ReportStage(get_task("dialogue")).told(
        Work(step="report", directory=tmp_path, inputs={"figures": (source,)}, seed=0, told=reports)
    )
    assert page.verdict.startswith(told.verdict) and section in page.sections
