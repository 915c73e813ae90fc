"""Figures over seeds and their differences, and sentences about a policy, by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import pytest
from scipy import stats

from rlaif.evaluation.catalogue import describe, run_checks
from rlaif.evaluation.judges import AnnotatorJudge
from rlaif.evaluation.pooled_curves import pool_curves
from rlaif.evaluation.records import ValidationCurves
from rlaif.evaluation.summary import paired_differences, pool_figures, standard_error
from rlaif.evaluation.temperatures import Choice, Tried, choose_by_annotators, choose_by_reward, write_choice
from rlaif.evaluation.win_rate import policy_verdict, win_rate_figures
from rlaif.types import Comparison, Completion, Figure, Prompt


class Run(NamedTuple):
    seed: str
    figures: dict[str, Figure]


def run(seed: int, n: int | None = 100, note: str = "people; x", **values: float) -> Run:
    figures = [Figure(name=f"policy/{name}", value=value, n=n, note=note) for name, value in values.items()]
    return Run(f"seed={seed}", {figure.name: figure for figure in figures})


def test_each_figure_is_pooled_over_the_runs_that_have_it() -> None:
    runs = [run(0, kl=1.0, mean_length=30.0), run(1, kl=2.0), run(2, note="others; x", kl=6.0, my_own=1.0)]
    kl, length, own = pool_figures(runs)
    assert [item.name for item in (kl, length, own)] == ["policy/kl", "policy/mean_length", "policy/my_own"]
    assert kl.pooled.value == 3.0 and kl.pooled.spread == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    assert kl.values == {"seed=0": 1.0, "seed=1": 2.0, "seed=2": 6.0}
    assert (kl.num_items, kl.missing, kl.note) == (300, 0, ""), "the judges differ"
    assert (length.num_items, length.missing, length.note) == (100, 2, "people")
    assert (own.missing, own.note, own.pooled.low) == (2, "others", None)


def test_the_number_of_prompts_is_unknown_where_a_run_does_not_tell() -> None:
    (kl,) = pool_figures([run(0, kl=1.0), run(1, n=None, kl=2.0)])
    assert kl.num_items is None
    assert pool_figures([run(0, n=0, kl=1.0), run(1, n=5, kl=2.0)])[0].num_items == 5


def test_the_interval_of_seeds_is_no_narrower_than_that_of_their_prompts() -> None:
    """Three equal values: the runs' own errors of 0.1 remain, divided by √3, and whole on shared prompts."""
    half = stats.norm.ppf(0.975) * 0.1
    figure = Figure(name="policy/kl", value=1.0, low=1.0 - half, high=1.0 + half)
    runs = [Run(str(seed), {"policy/kl": figure}) for seed in range(3)]
    for shares, expected in ((False, half / math.sqrt(3)), (True, half)):
        (found,) = pool_figures(runs, shares_prompts=shares)
        assert found.pooled.high == pytest.approx(1.0 + expected)
    assert standard_error(figure) == pytest.approx(0.1)
    assert standard_error(Figure(name="a/b", value=1.0, low=0.5)) is None
    assert standard_error(Figure(name="a/b", value=1.0, high=1.5)) is None


def test_differences_are_taken_seed_by_seed_of_what_all_runs_have() -> None:
    runs = [run(0, kl=3.0, mean_length=5.0), run(1, kl=5.0, mean_length=6.0), run(7, kl=99.0)]
    base = [run(1, kl=1.0), run(0, kl=2.0), run(8, kl=99.0)]
    (found,) = paired_differences(runs, base)
    assert found.name == "policy/kl" and found.values == {"seed=0": 1.0, "seed=1": 4.0}
    expected = stats.ttest_1samp([1.0, 4.0], 0.0).confidence_interval()
    assert (found.pooled.low, found.pooled.high) == pytest.approx((expected.low, expected.high))
    assert (found.num_items, found.note, found.missing) == (None, "", 0)
    assert paired_differences(runs, base, shares_prompts=True)[0].note.startswith("the same prompts under every seed")


def test_one_seed_in_common_gives_no_difference() -> None:
    assert paired_differences([run(0, kl=3.0), run(1, kl=5.0)], [run(0, kl=2.0)]) == []


GREEDY, BEST, SAME = (
    f"policy/{name}" for name in ("greedy_win_rate_vs_sft", "win_rate_vs_best_sft", "win_rate_vs_sft")
)


def rate(name: str, value: float, low: float | None, high: float | None, n: int | None = 1200) -> Figure:
    return Figure(name=name, value=value, low=low, high=high, n=n, note="people; x")


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.51, 0.7, "better than"),
        (0.5, 0.7, "not shown to be better or worse than"),
        (0.3, 0.5, "not shown to be better or worse than"),
        (0.3, 0.49, "worse than"),
        (None, None, "not shown to be better or worse than"),
        (0.46, 0.54, "about as good as"),
        (0.45, 0.54, "not shown to be better or worse than"),
        (0.46, 0.55, "not shown to be better or worse than"),
        (None, 0.4, "worse than"),
        (0.6, None, "better than"),
    ],
)
def test_better_and_worse_are_read_off_the_whole_interval(low: float | None, high: float | None, words: str) -> None:
    sentence = policy_verdict([rate(SAME, 0.5, low, high)], "dialogue")
    assert f"In dialogue the policy is {words} the SFT policy: it wins 50.0 % of comparisons" in sentence


def test_headline_figures_lead_and_the_same_temperature_is_told_without_them_alone() -> None:
    greedy, best, same = rate(GREEDY, 0.6, 0.55, 0.65), rate(BEST, 0.4, 0.35, 0.45), rate(SAME, 0.9, 0.8, 0.95)
    lead = (
        "In my task the policy is better than the SFT policy, both decoded greedily:"
        " it wins 60.0 % of comparisons (90 % interval 55.0–65.0 %, 1,200 prompts), judged by people."
    )
    then = (
        " It is worse than the SFT policy at the temperature that is best for SFT:"
        " it wins 40.0 % of comparisons (90 % interval 35.0–45.0 %, 1,200 prompts), judged by people."
    )
    assert policy_verdict([same, best, greedy], "my_task", 0.9) == lead + then
    assert policy_verdict([same, greedy], "my_task", 0.9) == lead
    assert policy_verdict([same], "my_task", 0.9).startswith("In my task the policy is better than the SFT policy: it")


def test_the_llm_judge_speaks_where_people_do_not() -> None:
    by_model = rate(f"{GREEDY}_llm_judge", 0.3, 0.2, 0.4)
    assert "worse than" in policy_verdict([by_model], "dialogue")
    assert "better than" in policy_verdict([by_model, rate(GREEDY, 0.6, 0.55, 0.65)], "dialogue")
    assert policy_verdict([], "my_task") == "My task: no win rate was measured in this run."


def test_a_bare_win_rate_is_told_without_brackets_and_judge() -> None:
    bare = Figure(name=SAME, value=0.5)
    assert policy_verdict([bare], "dialogue").endswith("it wins 50.0 % of comparisons.")
    assert policy_verdict([rate(SAME, 0.5, None, None)], "dialogue").endswith(
        "it wins 50.0 % of comparisons (1,200 prompts), judged by people."
    )


def pairs(count: int, num_identical: int = 0) -> list[Comparison]:
    return [
        Comparison(
            prompt=Prompt(task="dialogue", text=str(number)),
            first=Completion(text="a"),
            second=Completion(text="a" if number < num_identical else "b"),
        )
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("judge", "votes", "num_identical", "note"),
    [
        ("people", [(1.0,), (0.0,), (1.0,)], 0, "people; ties count ½"),
        ("people; sampled", [(1.0,), (0.0,), (1.0,)], 0, "people; sampled, ties count ½"),
        ("people", [(1.0, 0.0), (1.0,), (1.0,)], 0, "people; 2 raters per prompt, ties count ½"),
        ("people", [(0.5,), (0.5,), (1.0,)], 2, "people; ties count ½, 2 identical pairs are ties"),
        ("people", [(1.0,), (), (), (0.0,)], 0, "people; ties count ½, 2 missing left out"),
        ("people", [(0.5,), (), (1.0,)], 1, "people; ties count ½, 1 identical pairs are ties, 1 missing left out"),
    ],
)
def test_the_note_of_a_win_rate_says_what_was_counted(
    judge: str, votes: list[tuple[float, ...]], num_identical: int, note: str
) -> None:
    figure, *missing = win_rate_figures(pairs(len(votes), num_identical), votes, judge)
    assert figure.note == note
    num_missing = votes.count(())
    assert [(item.name, item.value) for item in missing] == (
        [("policy/missing_rate_win_rate_vs_sft", num_missing / len(votes))] if num_missing else []
    )


def test_verdicts_that_are_missing_are_told_and_checked() -> None:
    votes = [(1.0,)] * 20 + [()] * 380
    found = win_rate_figures(pairs(400, 0), votes, "LLM judge x", name=f"{GREEDY}_llm_judge")
    sentence = policy_verdict(found, "dialogue")
    assert "20 prompts, 95.0 % of the pairs without a verdict), judged by LLM judge x" in sentence
    checks = {check.figure: check.passed for check in run_checks(found)}
    assert checks[f"policy/missing_rate_{GREEDY.partition('/')[2]}_llm_judge"] is False
    assert describe(found[-1].name).label == "without a verdict: greedy win rate vs sft llm judge"


TRIED = tuple(
    Tried(temperature=t, value=v, low=v - 0.1, high=v + 0.1) for t, v in ((0.0, 0.5), (0.5, 0.75), (0.9, 0.25))
)


def test_the_table_of_temperatures_marks_the_best_alone() -> None:
    choice = Choice(temperature=0.5, by="people", score="probability of preference", tried=TRIED, num_prompts=1200)
    assert choice.table().rows == (
        ("0", "50.0 %", "40.0–60.0 %"),
        ("0.5 (best)", "75.0 %", "65.0–85.0 %"),
        ("0.9", "25.0 %", "15.0–35.0 %"),
    )
    assert choice.table().columns == ("temperature", "probability of preference", "interval")
    assert "Chosen by people on 1,200 tuning prompts" in choice.table().hint
    bare = Tried(temperature=1.0, value=-1.5, low=None, high=None)
    table = Choice(temperature=0.5, by="people", score="mean reward", tried=(bare,), num_prompts=1).table()
    assert table.rows == (("1", "−1.5", "–"),)


def test_a_temperature_that_an_option_names_has_no_grid() -> None:
    named = Choice(temperature=0.5, by="evaluation.sft_temperature", score="").figure()
    assert (named.value, named.n, named.note) == (0.5, None, "evaluation.sft_temperature")
    chosen = Choice(temperature=0.5, by="people", score="s", tried=TRIED, num_prompts=1200).figure()
    assert (chosen.n, chosen.note) == (1200, "people; best of 0, 0.5, 0.9 on 1,200 tuning prompts")


def test_the_choice_is_written_one_value_a_line_and_sorted(tmp_path: Path) -> None:
    write_choice(tmp_path, Choice(temperature=0.5, by="people", score="s"))
    lines = (tmp_path / "temperatures.json").read_text().splitlines()
    assert lines[:3] == ["{", ' "by": "people",', ' "num_prompts": 0,']


def test_curves_of_no_run_and_of_runs_with_nothing_in_common() -> None:
    assert pool_curves([]) == {}
    one, other = (ValidationCurves(win_rates={"a": ((step, 0.5),), label: ()}) for step, label in ((0, "b"), (9, "c")))
    assert pool_curves([one, other]) == {"a": ()}


class Drawing:
    """Annotators without exact probabilities: of three, all but the last want the longer text."""

    identity = "drawing"

    def prefer(self, comparisons: list[Comparison], rater: int = 0) -> list[float]:
        longer = [float(len(pair.first.text) > len(pair.second.text)) for pair in comparisons]
        return [1.0 - value for value in longer] if rater == 2 else longer

    def harmless(self, prompts: list[Prompt], responses: list[str], rater: int = 0) -> list[bool]:
        return [True for _ in responses]


def test_annotators_without_probabilities_choose_by_their_verdicts() -> None:
    prompts = [Prompt(task="dialogue", text=str(number)) for number in range(5)]
    drawn = {t: [Completion(text="x" * length)] * 5 for t, length in ((0.0, 1), (0.4, 3), (0.8, 2))}
    choice = choose_by_annotators(prompts, drawn, AnnotatorJudge(Drawing(), num_raters=3))
    assert choice.temperature == 0.4 and choice.num_prompts == 5
    assert [item.value for item in choice.tried] == pytest.approx([1 / 3, 2 / 3, 1 / 2])


def test_prompts_that_stand_twice_are_one_tuning_prompt() -> None:
    prompts = [Prompt(task="dialogue", text=str(number // 2)) for number in range(6)]
    rewards = {"low": 1.0, "high": 1.0}
    drawn = {0.7: [Completion(text="high")] * 6, 0.2: [Completion(text="low")] * 6}
    choice = choose_by_reward(prompts, drawn, lambda prompts, responses: [rewards[r.text] for r in responses])
    assert (choice.temperature, choice.num_prompts) == (0.2, 3), "of equal ones the lowest"
    assert [item.temperature for item in choice.tried] == [0.2, 0.7]
