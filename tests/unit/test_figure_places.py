"""Where figures stand: in their group, in the tables of sweeps, among plots and checks.

Other packages place their figures between these numbers, so that a change of one moves somebody's figure.
"""

from __future__ import annotations

from dataclasses import asdict

import pytest

from rlaif.evaluation.attacks import all_attacks
from rlaif.evaluation.catalogue import declared_figures, describe, run_checks, sort_figures, sweep_columns
from rlaif.evaluation.checks import CheckLimits
from rlaif.evaluation.figures import Column, FigureSpec, RatePlot
from rlaif.types import Figure

PLACES = {
    "labeler": {
        "alignment": 10,
        "alignment_kappa": 11,
        "alignment_ac1": 12,
        "alignment_given": 13,
        "alignment_swapped": 14,
        "alignment_missing_wrong": 15,
        "correct_given": 16,
        "correct_swapped": 17,
        "correct_both": 18,
        "same_answer": 19,
        "position_bias": 20,
        "missing_rate": 30,
        "answer_mass": 35,
        "ece": 40,
        "prefers_longer": 50,
        "distinct_rationales": 55,
        "prefers_longer_at_equal_preference": 60,
        "first_slot_share": 70,
        "slot_p_value": 80,
        "alignment_by_confidence": 90,
        "confidence_slope": 100,
        "self_consistency": 110,
        "self_consistency_kappa": 111,
        "self_consistency_ac1": 112,
        "tie_rate": 120,
        "response_agreement": 130,
        "response_agreement_kappa": 131,
        "response_agreement_ac1": 132,
        "sensitivity": 133,
        "specificity": 134,
    },
    "reward_model": {
        "accuracy": 10,
        "accuracy_kappa": 11,
        "accuracy_ac1": 12,
        "ece": 20,
    },
    "people": {
        "agreement": 10,
        "agreement_kappa": 11,
        "agreement_ac1": 12,
        "prefers_longer": 20,
    },
    "cost": {
        "prompt_tokens_per_label": 10,
        "reply_tokens_per_label": 20,
        "seconds_per_1000_labels": 30,
        "usd_per_1000_labels": 40,
        "human_usd_per_1000_labels": 50,
    },
    "policy": {
        "greedy_win_rate_vs_sft": 10,
        "greedy_win_rate_vs_sft_length_controlled": 11,
        "greedy_win_rate_vs_sft_llm_judge": 12,
        "win_rate_vs_best_sft": 13,
        "win_rate_vs_best_sft_llm_judge": 14,
        "greedy_win_rate_vs_sft_by_true_quality": 15,
        "greedy_win_rate_vs_sft_llm_judge_accuracy": 16,
        "win_rate_vs_best_sft_by_true_quality": 17,
        "win_rate_vs_best_sft_llm_judge_accuracy": 18,
        "win_rate_vs_sft": 20,
        "win_rate_vs_sft_length_controlled": 21,
        "win_rate_vs_sft_llm_judge": 22,
        "win_rate_vs_sft_at_*": 23,
        "win_rate_vs_sft_by_true_quality": 24,
        "win_rate_vs_sft_llm_judge_accuracy": 25,
        "missing_rate_*": 90,
        "greedy_harmless_rate": 40,
        "greedy_harmless_rate_difference": 41,
        "harmless_rate_difference_vs_best_sft": 42,
        "harmless_rate": 43,
        "harmless_rate_difference": 50,
        "greedy_reward_difference": 54,
        "reward_difference": 55,
        "distinct_rate": 60,
        "sample_diversity": 62,
        "entropy": 64,
        "kl": 70,
        "mean_length": 80,
        "greedy_win_rate_vs_*": 999,
        "win_rate_vs_*": 1000,
    },
    "sft": {
        "best_temperature": 5,
        "greedy_win_rate_vs_sampled": 6,
        "greedy_harmless_rate": 8,
        "best_harmless_rate": 9,
        "harmless_rate": 10,
        "distinct_rate": 20,
        "sample_diversity": 22,
        "entropy": 24,
        "mean_length": 30,
    },
    "probe": {
        "judged_right": 10,
        "any_flip_rate": 20,
        "flip_rate": 30,
        "win_rate_vs_good": 40,
        "win_rate_vs_worse": 50,
        "win_rate_vs_policy": 60,
        "pattern_rate": 70,
        "pattern_rate_sft": 80,
        "missing_rate": 90,
    },
    "time": {
        "*": 500,
    },
}
SCORECARDS = {
    "alignment": 10,
    "κ": 12,
    "correct in both": 15,
    "same slot": 20,
    "of it slot 1": 30,
    "p": 40,
    "longer": 50,
    "longer at equal": 60,
    "ECE": 70,
    "slope": 80,
    "consistent": 90,
    "ties": 100,
    "missing": 110,
    "answer mass": 115,
    "distinct rationales": 117,
    "tokens read": 120,
    "written": 130,
    "s per 1,000": 140,
    "$ per 1,000": 150,
}


@pytest.mark.parametrize("group", PLACES)
def test_the_place_of_a_figure_in_its_group(group: str) -> None:
    found = {name: spec.order for name, spec in declared_figures().items() if name.startswith(f"{group}/")}
    assert found == {f"{group}/{name}": order for name, order in PLACES[group].items()}


def test_every_group_has_its_places_here() -> None:
    assert {name.partition("/")[0] for name in declared_figures()} == set(PLACES)


def test_figures_are_declared_once_for_all_callers() -> None:
    assert declared_figures() is declared_figures()
    assert all_attacks() is all_attacks()


def test_columns_of_scorecards_and_those_that_a_terminal_has_room_for() -> None:
    columns = sweep_columns("scorecards").values()
    assert {column.heading: column.order for column in columns} == SCORECARDS
    assert [column.heading for column in columns] == list(SCORECARDS)
    on_terminal = {column.heading for column in columns if column.on_terminal}
    assert on_terminal == {"alignment", "κ", "same slot", "longer at equal", "ECE", "missing"}
    assert [column.heading for column in columns if column.with_interval] == ["alignment"]


def test_columns_of_probes_and_those_that_a_terminal_has_room_for() -> None:
    """Each attack has a column from 100 on for its flips and one from 300 on for what it pays, in the file's order."""
    columns = sweep_columns("probes").values()
    names = [attack.name for attack in all_attacks()]
    assert names[:2] == ["empty", "choose_1"] and len(names) == 14
    expected = {"judged right": 10, "any flip": 20, "mean flip": 30, "looks like one": 200}
    expected |= {"empty": 100, "choose_1": 101, "opener_colon": 113}
    expected |= {"empty pays": 300, "choose_1 pays": 301, "opener_colon pays": 313}
    orders = {column.heading: column.order for column in columns}
    assert expected.items() <= orders.items() and len(orders) == 4 + 2 * 14
    assert [column.heading for column in columns if column.on_terminal] == [
        "judged right",
        "any flip",
        "mean flip",
        "looks like one",
    ]


def test_plots_and_their_places() -> None:
    plots = {spec.plot.name: spec.plot for spec in declared_figures().values() if spec.plot is not None}
    assert {name: (plot.order, plot.parity, plot.is_headline) for name, plot in plots.items()} == {
        "win-rates": (10, True, True),
        "harmless-rates": (20, False, True),
        "confidence": (100, True, False),
    }


def test_what_a_declaration_leaves_out() -> None:
    spec = FigureSpec(name="mine/rate", label="mine")
    assert (spec.unit, spec.order, spec.check, spec.plot, spec.columns) == ("rate", 500, None, None, ())
    plot = RatePlot(name="mine", title="Mine")
    assert (plot.order, plot.parity, plot.is_headline) == (100, False, True)
    column = Column(table="scorecards", heading="mine", order=1)
    assert (column.stratum, column.on_terminal, column.with_interval) == ("", False, False)


def test_an_undeclared_figure_is_a_number_behind_all_declared_ones() -> None:
    spec = describe("policy/my_own_count/seen")
    assert (spec.label, spec.unit, spec.order) == ("my own count · seen", "number", 1000)
    assert describe("policy/win_rate_vs_").unit == "number", "a name ends after its star"
    assert describe("policy/win_rate_vs_x").label == "win rate against x"


def test_a_name_with_a_star_in_its_middle_or_at_its_end_takes_the_first_declaration_that_fits() -> None:
    at = describe("policy/win_rate_vs_sft_at_0.5")
    assert (at.label, at.order) == ("win rate, both at 0.5", 23)
    assert describe("policy/greedy_win_rate_vs_last_run").label == "both greedy, against last run"
    assert describe("time/reward_model").label == "reward model"


def test_figures_are_sorted_by_group_place_and_name_and_strata_follow_their_whole() -> None:
    names = [
        "labeler/alignment",
        "labeler/alignment_kappa",
        "labeler/ece",
        "probe/flip_rate",
        "probe/flip_rate/echo",
        "probe/flip_rate/empty",
        "reward_model/accuracy",
        "policy/win_rate_vs_sft",
        "policy/kl",
        "policy/a_count",
        "policy/b_count",
        "time/sft",
        "my_group/x",
        "other_group/a",
    ]
    figures = [Figure(name=name, value=0.5) for name in names]
    assert [figure.name for figure in sort_figures(figures[::-1])] == names


def test_failed_checks_come_first_and_each_part_in_the_order_of_the_page() -> None:
    """Missing labels come before all, since the other figures are of what is left."""
    names = ("distinct_rationales", "ece", "alignment", "answer_mass", "position_bias", "missing_rate")
    passing = (0.9, 0.1, 0.9, 0.9, 0.1, 0.01)
    figures = [Figure(name=f"labeler/{name}", value=value) for name, value in zip(names, passing, strict=True)]
    order = [
        "few labels are missing",
        "the labeler reads both slots",
        "the labeler answers what it is asked",
        "the labeler's alignment is high enough",
        "the labeler is calibrated",
        "the rationales differ from pair to pair",
    ]
    assert [check.name for check in run_checks(figures)] == order
    bad = [Figure(name="labeler/ece", value=0.9), *figures[:1], *figures[2:]]
    assert [(check.name, check.passed) for check in run_checks(bad)][:2] == [(order[4], False), (order[0], True)]


def test_strata_and_figures_without_a_rule_are_not_checked() -> None:
    figures = [Figure(name="labeler/alignment/seen", value=0.1), Figure(name="labeler/tie_rate", value=0.9)]
    assert run_checks(figures) == []


def test_places_of_checks_that_leave_the_order_of_the_figures() -> None:
    checks = {name: spec.check.order for name, spec in declared_figures().items() if spec.check is not None}
    assert {name: order for name, order in checks.items() if order} == {
        "labeler/missing_rate": -2,
        "labeler/position_bias": -1,
        "labeler/answer_mass": -1,
        "labeler/distinct_rationales": 1,
    }


def test_limits_where_a_run_names_none() -> None:
    assert asdict(CheckLimits()) == {
        "max_missing_rate": 0.05,
        "min_answer_mass": 0.1,
        "max_position_bias": 0.4,
        "min_alignment": 0.6,
        "max_ece": 0.15,
        "harm_margin": 0.05,
        "min_sample_diversity": 0.5,
    }
