"""From rows of a training's files to sections of a page: curves, parts of the reward, missing rewards, responses."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlaif.evaluation.files import read_diagrams, read_figures, write_diagrams, write_figures
from rlaif.evaluation.records import (
    CurvePoint,
    Curves,
    LinePlot,
    PFirstHistogram,
    ReliabilityBin,
    ReliabilityDiagram,
    Table,
    ValidationCurves,
)
from rlaif.evaluation.responses import kl_figures, response_figures, side_by_side, time_figures
from rlaif.evaluation.reward_curves import reward_sections
from rlaif.types import Comparison, Completion, Figure, Preference, Prompt


def test_a_curve_holds_what_its_rows_hold() -> None:
    rows = [{"step": 1.0, "policy/reward": 0.5, "policy/kl": 0.1, "policy/length": 20.0}, {"step": 2.0, "reward": 9.0}]
    assert Curves.from_rows(rows) == Curves(
        title="Reinforcement learning",
        points=(CurvePoint(step=1, reward=0.5, kl=0.1, length=20.0), CurvePoint(step=2)),
    )
    relative = [{**row, "policy/margin": 2.0} for row in rows[:1]]
    assert Curves.from_rows(relative, is_relative=True).points == (CurvePoint(step=1, margin=2.0, kl=0.1, length=20.0),)
    assert Curves.from_rows([], "Mine") == Curves(title="Mine", points=())


def test_validation_curves_are_of_the_strata_where_there_are_any() -> None:
    rows = [
        {"step": 0, "win_rate": 0.5, "win_rate/greedy": 0.5, "win_rate/seen": 0.4, "win_rate/greedy/seen": 0.3},
        {"step": 20, "win_rate": 0.6, "win_rate/seen": 0.7, "reward": 1.5},
    ]
    found = ValidationCurves.from_rows(rows)
    assert found.win_rates == {"seen, sampled": ((0, 0.4), (20, 0.7)), "seen, greedy": ((0, 0.3),)}
    assert found.rewards == ((20, 1.5),)


def test_validation_curves_of_all_prompts_where_there_are_no_strata() -> None:
    found = ValidationCurves.from_rows([{"step": 0, "win_rate": 0.5, "win_rate/greedy": 0.25, "other": 1.0}])
    assert found.win_rates == {"all prompts, sampled": ((0, 0.5),), "all prompts, greedy": ((0, 0.25),)}
    assert ValidationCurves.from_rows([]) == ValidationCurves(win_rates={})


PAIR = Comparison(
    prompt=Prompt(task="dialogue", text="Hi"), first=Completion(text="one\n"), second=Completion(text="two")
)


def test_missing_labels_are_no_part_of_the_histogram() -> None:
    labels = [Preference(comparison=PAIR, p_first=p, missing=None if p is not None else "no") for p in (0.0, None, 0.9)]
    assert PFirstHistogram.of(labels) == PFirstHistogram(p_first=(0.0, 0.9), title="Labels")
    assert PFirstHistogram.of(labels, "Mine").title == "Mine"


def test_both_responses_stand_side_by_side_with_what_judges_said() -> None:
    other = Comparison(prompt=PAIR.prompt, first=PAIR.second, second=PAIR.first)
    judged = Preference(comparison=other, p_first=0.2)
    first, second = side_by_side([PAIR, other], [(1.0, 0.0, 0.0, 0.5), ()], [judged]).rows
    assert (first.prompt, first.policy, first.sft) == ("Hi", "one", "two")
    assert (first.annotators, first.label) == (1.5 / 4, None)
    assert (second.policy, second.annotators, second.label) == ("two", None, judged)


def test_lengths_distinct_responses_and_kl_by_hand() -> None:
    prompts = [Prompt(task="dialogue", text=str(number), stratum="ab"[number // 2]) for number in range(4)]
    figures = {figure.name: figure for figure in response_figures("policy", prompts, ["x", "x", "yy", "x"])}
    assert figures["policy/distinct_rate"].value == 2 / 4 and figures["policy/mean_length"].value == 5 / 4
    kl = {figure.name: (figure.value, figure.n) for figure in kl_figures(prompts, [1.0, 2.0, 4.0, 5.0])}
    assert kl == {"policy/kl": (3.0, 4), "policy/kl/a": (1.5, 2), "policy/kl/b": (4.5, 2)}


def test_times_have_a_total() -> None:
    assert [figure.value for figure in time_figures({"sft": 2.0, "labels": 3.0})] == [2.0, 3.0, 5.0]
    assert time_figures({}) == []


def test_figures_and_diagrams_are_read_as_they_were_written(tmp_path: Path) -> None:
    figures = [Figure(name="a/b", value=0.5, low=None, high=0.6, n=3, note="people"), Figure(name="a/c", value=1.0)]
    write_figures(tmp_path, figures)
    assert read_figures(tmp_path) == figures
    lines = (tmp_path / "figures.json").read_text().splitlines()
    assert lines[:4] == ["[", " {", '  "high": 0.6,', '  "low": null,'], (
        "one value a line, sorted, so that files compare"
    )
    full = ReliabilityDiagram(title="t", judged_by="p", bins=(ReliabilityBin(predicted=0.1, observed=0.2, count=3),))
    write_diagrams(tmp_path, [ReliabilityDiagram(title="empty", judged_by="p", bins=()), full])
    assert read_diagrams(tmp_path) == [full]


def row(step: int, **figures: float) -> dict[str, float]:
    return {"step": float(step)} | {f"policy/{name.replace('__', '/')}": value for name, value in figures.items()}


def plot_of(rows: list[dict[str, float]]) -> LinePlot:
    (section,) = reward_sections(rows)
    assert isinstance(section, LinePlot)
    return section


def test_four_parts_of_a_reward_are_drawn_and_the_others_counted() -> None:
    names = [f"part{number}" for number in range(6)]
    rows = [row(step, **{f"reward__{name}": step + 0.5 for name in names}) for step in (20, 10)]
    plot = plot_of(rows)
    (panel,) = plot.panels
    assert list(panel.lines) == names[:4] and panel.lines["part3"] == ((10.0, 10.5), (20.0, 20.5))
    assert plot.hint == "2 further parts are in curve.jsonl."
    four = [{name: value for name, value in item.items() if name[-1] not in "45"} for item in rows]
    assert plot_of(four).hint == "" and len(plot_of(four).panels[0].lines) == 4


def test_parts_of_parts_are_not_drawn_and_disagreement_is_drawn_by_the_kl() -> None:
    rows = [
        row(1, kl=2.0, reward__disagreement=0.3, reward__safety=0.1, reward__safety__raw=7.0),
        row(2, kl=1.0, reward__disagreement=0.2),
        row(3, reward__disagreement=0.9, reward__safety=0.4),
    ]
    parts, disagreement = plot_of(rows).panels
    assert parts.lines == {"safety": ((1.0, 0.1), (3.0, 0.4))}
    assert list(disagreement.lines.values()) == [((1.0, 0.2), (2.0, 0.3))], "steps without a KL have no place"
    assert [panel.title for panel in plot_of([row(1, kl=1.0, reward__disagreement=0.1)]).panels] == [disagreement.title]


def missing(rows: list[dict[str, float]]) -> dict[str, tuple[str, str]]:
    (table,) = reward_sections(rows)
    assert isinstance(table, Table) and table.columns == ("responses", "mean over steps", "in the worst step")
    return {words.rpartition(": ")[2]: (mean, most) for words, mean, most in table.rows}


def test_missing_rewards_by_their_cause_on_average_and_at_worst() -> None:
    """A step that does not tell a share had none; a share that the last step does not tell is not asked for."""
    rows = [row(1, failed=0.5), row(2, unreadable=0.02, missing=0.1), row(3, unreadable=0.04, missing=0.02)]
    assert missing(rows) == {
        "the judge's reply holds no verdict": ("2.00 %", "4.00 %"),
        "no reward, all causes": ("4.00 %", "10.00 %"),
    }
    assert missing([row(1, zero_reward=0.25)]) == {
        "a reward of exactly 0 (share of those with a reward)": ("25.00 %", "25.00 %")
    }


@pytest.mark.parametrize(
    "rows", [[], [row(1, kl=1.0)], [row(1, missing=0.0, failed=0.0)], [row(1, failed=0.5), row(2)]]
)
def test_where_nothing_is_missing_there_is_no_table(rows: list[dict[str, float]]) -> None:
    assert reward_sections(rows) == []
