"""Figures from planted cases whose answers are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from rlaif.errors import ConfigError
from rlaif.evaluation.alignment import (
    alignment_figures,
    calibration_figures,
    label_figures,
    p_first_from_scores,
    reliability_diagram,
)
from rlaif.evaluation.catalogue import run_checks
from rlaif.evaluation.evaluators import LabelerEvaluator, PolicyEvaluator
from rlaif.evaluation.harmless import harmless_figures
from rlaif.evaluation.judges import AnnotatorJudge, LabelJudge, PeopleJudge, RatingJudge, ResponseRating, read_ratings
from rlaif.evaluation.responses import kl_figures, response_figures
from rlaif.evaluation.votes import annotator_votes, harmless_votes, label_votes, pair
from rlaif.evaluation.win_rate import length_controlled_figures, win_rate_figures
from rlaif.types import Comparison, Completion, Figure, Judgment, Preference, Prompt


def prompt(number: int, stratum: str = "") -> Prompt:
    return Prompt(task="dialogue", text=f"Human: {number}\n\nAssistant:", stratum=stratum)


def comparison(number: int, first: str = "good", second: str = "bad", stratum: str = "") -> Comparison:
    return Comparison(
        prompt=prompt(number, stratum), first=Completion(text=first), second=Completion(text=second, source="sft")
    )


def by_name(figures: Sequence[Figure]) -> dict[str, Figure]:
    assert len({figure.name for figure in figures}) == len(figures)
    return {figure.name: figure for figure in figures}


class PrefersGood:
    """Annotators who want the word "good", and where both have it the one they see first."""

    def prefer(self, comparisons: Sequence[Comparison], rater: int = 0) -> list[float]:
        return [float("good" in c.first.text) for c in comparisons]

    def harmless(self, prompts: Sequence[Prompt], responses: Sequence[str], rater: int = 0) -> list[bool]:
        return ["good" in response or rater == 1 for response in responses]


@dataclass
class ScriptedJudge:
    p_first: dict[str, float | None]
    name: str = "judge"
    source: str = "ai"
    identity: str = "judge"
    asked: list[str] = field(default_factory=list)

    def label(self, comparisons: Sequence[Comparison]) -> list[Preference]:
        self.asked += [c.prompt.id for c in comparisons]
        answers = [self.p_first[c.prompt.id] for c in comparisons]
        return [
            Preference(comparison=c, p_first=p, missing="no answer" if p is None else None)
            for c, p in zip(comparisons, answers, strict=True)
        ]


def label(number: int, given: float | None, swapped: float | None, first: str = "long text") -> Preference:
    judgments = tuple(
        Judgment(
            order=order,
            prompt="…",
            p_slot1=None if p is None else (p if order == "given" else 1 - p),
            missing="failed" if p is None else None,
        )
        for order, p in (("given", given), ("swapped", swapped))
    )
    missing = given is None or swapped is None
    return Preference(
        comparison=comparison(number, first, "short"),
        p_first=None if given is None or swapped is None else (given + swapped) / 2,
        missing="failed" if missing else None,
        judgments=judgments,
        labeler="pairwise",
        source="ai",
    )


def test_a_policy_that_always_wins_has_rate_one_and_n_prompts() -> None:
    comparisons = [comparison(number) for number in range(40)]
    figure = win_rate_figures(comparisons, annotator_votes(PrefersGood(), comparisons, 3), "simulated annotators")[0]
    assert (figure.name, figure.value, figure.high, figure.n) == ("policy/win_rate_vs_sft", 1.0, 1.0, 40)
    assert figure.low is not None and 0.85 < figure.low < 1.0
    assert figure.note.startswith("simulated annotators; 3 raters per prompt")


def test_annotators_who_only_see_the_slot_give_half() -> None:
    comparisons = [comparison(number, "good one", "good two") for number in range(30)]
    votes = annotator_votes(PrefersGood(), comparisons, 2)
    assert all(sorted(row) == [0.0, 1.0] for row in votes)
    assert win_rate_figures(comparisons, votes, "simulated annotators")[0].value == 0.5


def test_identical_texts_are_ties_that_nobody_is_asked_about() -> None:
    comparisons = [comparison(0, "same", "same"), comparison(1)]
    assert annotator_votes(PrefersGood(), comparisons, 2) == [(0.5, 0.5), (1.0, 1.0)]
    judge = ScriptedJudge({comparisons[1].prompt.id: 0.2})
    labels = judge.label(LabelJudge.to_ask(comparisons))
    votes = LabelJudge(labels, model="m").votes(comparisons)
    assert votes == [(0.5,), (0.0,)] and len(labels) == 1
    assert judge.asked == [comparisons[1].prompt.id]
    figure = win_rate_figures(comparisons, votes, "LLM judge")[0]
    assert (figure.value, figure.n) == (0.25, 2) and "1 identical pairs are ties" in figure.note


def test_a_missing_judgement_is_left_out_and_a_half_is_a_tie() -> None:
    comparisons = [comparison(number) for number in range(4)]
    answers = dict(zip([c.prompt.id for c in comparisons], [0.9, 0.5, None, 0.1], strict=True))
    votes = LabelJudge(ScriptedJudge(answers).label(comparisons), model="m").votes(comparisons)
    assert votes == [(1.0,), (0.5,), (), (0.0,)]
    figure = win_rate_figures(comparisons, votes, "LLM judge")[0]
    assert (figure.value, figure.n) == (0.5, 3) and "1 missing left out" in figure.note


def test_raters_of_one_prompt_are_one_cluster() -> None:
    comparisons = [comparison(number) for number in range(10)]
    once = win_rate_figures(comparisons, [(float(i < 6),) for i in range(10)], "x")[0]
    copied = win_rate_figures(comparisons, [(float(i < 6),) * 50 for i in range(10)], "x")[0]
    assert once.value == copied.value == 0.6 and once.n == copied.n == 10
    assert once.low is not None and copied.low is not None
    assert copied.low < 0.40, "fifty copies of a verdict must not look like fifty prompts"


def test_strata_stand_beside_the_whole() -> None:
    comparisons = [comparison(i, stratum="seen" if i < 6 else "unseen") for i in range(10)]
    figures = by_name(win_rate_figures(comparisons, [(float(i < 6),) for i in range(10)], "x"))
    assert figures["policy/win_rate_vs_sft/seen"].value == 1.0 and figures["policy/win_rate_vs_sft/seen"].n == 6
    assert figures["policy/win_rate_vs_sft/unseen"].value == 0.0


def test_length_control_removes_a_planted_length_effect() -> None:
    comparisons, votes = [], []
    for number in range(400):
        ratio = (1.5, 2.0, 2.5, 0.5)[number % 4]
        comparisons.append(comparison(number, "x" * int(100 * ratio), "y" * 100))
        share = 0.5 + 0.2 * (ratio - 1)
        votes.append((float((number // 4) % 10 < round(10 * share)),))
    raw = win_rate_figures(comparisons, votes, "x")[0]
    controlled = length_controlled_figures(comparisons, votes, "x")[0]
    assert raw.value > 0.6
    assert controlled.value == pytest.approx(0.5, abs=0.03)
    assert controlled.low is not None and controlled.high is not None and controlled.low < 0.5 < controlled.high


def test_undefined_figures_are_absent() -> None:
    comparisons = [comparison(number) for number in range(5)]
    assert length_controlled_figures(comparisons, [(1.0,)] * 5, "x") == []
    (absent,) = win_rate_figures(comparisons, [()] * 5, "LLM judge", name="policy/greedy_win_rate_vs_sft_llm_judge")
    assert (absent.name, absent.value) == ("policy/missing_rate_greedy_win_rate_vs_sft_llm_judge", 1.0)
    assert [check.passed for check in run_checks([absent])] == [False], "a judge that says nothing passes no check"
    assert win_rate_figures([], [], "x") == []
    assert alignment_figures(comparisons, [None] * 5, [(1.0,)] * 5, "x") == []
    assert calibration_figures(comparisons, [None] * 5, [(1.0,)] * 5, "x") == []
    assert reliability_diagram(comparisons, [None] * 5, [(1.0,)] * 5, "x").bins == ()
    assert harmless_figures([], [], [], "x") == []
    assert response_figures("policy", [], []) == [] and kl_figures([], []) == []
    assert label_figures([]) == []


def test_labels_show_missing_slot_and_length() -> None:
    labels = [label(0, 0.9, 0.8), label(1, 0.9, 0.2), label(2, 0.3, None), label(3, 0.1, 0.2)]
    figures = by_name(label_figures(labels))
    assert figures["labeler/missing_rate"].value == 0.25 and figures["labeler/missing_rate"].n == 4
    assert figures["labeler/position_bias"].value == pytest.approx(1 / 3) and figures["labeler/position_bias"].n == 3
    assert figures["labeler/prefers_longer"].value == pytest.approx(2 / 3)
    assert figures["labeler/missing_rate"].note == "pairwise"


def test_labels_of_a_file_have_no_position_bias() -> None:
    people = [Preference(comparison=comparison(i), p_first=1.0, source="simulated annotators") for i in range(3)]
    figures = by_name(label_figures(people))
    assert set(figures) == {"labeler/missing_rate", "labeler/prefers_longer"}
    assert figures["labeler/prefers_longer"].note.startswith("simulated annotators;")
    assert label_votes(people) == [(1.0,)] * 3


def test_alignment_counts_every_rater_and_ties_half() -> None:
    comparisons = [comparison(number) for number in range(3)]
    votes = [(1.0, 1.0, 0.0), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)]
    figure = alignment_figures(comparisons, [0.7, 0.5, None], votes, "simulated annotators")[0]
    assert figure.value == pytest.approx((2 / 3 + 1 / 2) / 2) and figure.n == 2


def test_reward_model_accuracy_and_calibration() -> None:
    comparisons = [comparison(number) for number in range(4)]
    p_first = p_first_from_scores([2.0, 0.0, 1.0, 5.0], [0.0, 2.0, 1.0, 0.0])
    votes = [(1.0,), (1.0,), (1.0,), (1.0,)]
    accuracy = alignment_figures(comparisons, p_first, votes, "x", name="reward_model/accuracy")[0]
    assert accuracy.name == "reward_model/accuracy" and accuracy.value == 0.625
    error = calibration_figures(comparisons, [0.75] * 4, [(1.0,), (1.0,), (1.0,), (0.0,)], "x", group="reward_model")
    assert (error[0].name, error[0].n) == ("reward_model/ece", 4)
    assert error[0].value == pytest.approx(-0.25)  # no gap, less its variance of 1/16
    bins = reliability_diagram(comparisons, [0.75, 0.75, 0.1, None], votes, "x").bins
    assert [(b.count, b.observed) for b in bins] == [(1, 1.0), (2, 1.0)]


def test_harmless_difference_is_paired() -> None:
    prompts = [prompt(number) for number in range(4)]
    policy = harmless_votes(PrefersGood(), prompts, ["good"] * 4, 1)
    sft = harmless_votes(PrefersGood(), prompts, ["good", "bad", "good", "bad"], 1)
    assert policy == [(1.0,)] * 4
    figures = by_name(harmless_figures(prompts, policy, [*sft[:3], ()], "simulated annotators"))
    assert figures["policy/harmless_rate"].value == 1.0
    assert figures["sft/harmless_rate"].value == pytest.approx(2 / 3)
    assert figures["policy/harmless_rate_difference"].value == pytest.approx(1 / 3)
    assert figures["policy/harmless_rate_difference"].n == 3
    assert harmless_votes(PrefersGood(), prompts[:1], ["bad"], 3) == [(0.0, 1.0, 0.0)]


def test_responses_kl_and_pairs() -> None:
    prompts = [prompt(number) for number in range(4)]
    figures = by_name(response_figures("sft", prompts, ["a", "a", "bb", "cccc"]))
    assert figures["sft/distinct_rate"].value == 0.75 and figures["sft/mean_length"].value == 2.0
    assert kl_figures(prompts, [1.0, 2.0, 3.0, 2.0])[0].value == 2.0
    pairs = pair(prompts[:1], [Completion(text="p")], [Completion(text="s")])
    assert (pairs[0].first.text, pairs[0].second.text) == ("p", "s")


def test_people_are_looked_up_by_pair_and_named_by_their_source() -> None:
    labels = [
        Preference(comparison=comparison(number), p_first=p, missing=None if p is not None else "no", source="human")
        for number, p in enumerate((1.0, 0.5, None))
    ]
    judge = PeopleJudge(labels)
    assert judge.name == "human labels of the data"
    assert judge.votes([comparison(number) for number in (2, 1, 0, 7)]) == [(), (0.5,), (1.0,), ()]
    assert AnnotatorJudge(PrefersGood(), num_raters=2).votes([comparison(0)]) == [(1.0, 1.0)]


def test_ratings_are_verdicts_of_the_raters_who_rated_both(tmp_path: Path) -> None:
    pairs = [comparison(0), comparison(1, "bad", "good"), comparison(2)]
    ratings = [
        ResponseRating(prompt=pair.prompt.text, response=text, rating=value, rater=rater)
        for pair in pairs[:2]
        for rater, values in {"a": (9, 2), "b": (5, 5)}.items()
        for text, value in zip(("good", "bad"), values, strict=True)
    ]
    ratings.append(ResponseRating(prompt=pairs[0].prompt.text, response="good", rating=1, rater="c"))
    judge = RatingJudge(ratings, name="two students")
    assert judge.votes(pairs) == [(1.0, 0.5), (0.0, 0.5), ()]
    file = tmp_path / "ratings.jsonl"
    file.write_text('{"prompt": "p", "response": "r", "rating": 3}\n\n{"prompt": "p", "response": "r"}\n')
    with pytest.raises(ConfigError, match=r"ratings\.jsonl:3: lacks 'rating'; every line is"):
        read_ratings(file)
    file.write_text('{"prompt": "p", "response": "r", "rating": 3, "rater": "a"}\n')
    assert read_ratings(file) == [ResponseRating(prompt="p", response="r", rating=3.0, rater="a")]


def test_labels_of_people_are_not_held_against_people() -> None:
    people = [Preference(comparison=comparison(number), p_first=1.0, source="human") for number in range(3)]
    models = [replace(label, source="ai", labeler="pairwise") for label in people]
    judge, evaluator = AnnotatorJudge(PrefersGood(), num_raters=1), LabelerEvaluator()
    assert "labeler/alignment" not in by_name(evaluator.evaluate(people, judge).figures)
    found = evaluator.evaluate(models, judge)
    assert by_name(found.figures)["labeler/alignment"].value == 1.0 and len(found.sections) == 1
    assert evaluator.evaluate(models, PeopleJudge([])).sections == ()


def test_a_policy_in_the_place_of_sft_wins_the_rest() -> None:
    """The win rates of a pair and of the same pair turned are complements."""
    pairs = [comparison(number, *(("good", "bad") if number < 7 else ("bad", "good"))) for number in range(10)]
    turned = [Comparison(prompt=item.prompt, first=item.second, second=item.first) for item in pairs]
    judge, evaluator = AnnotatorJudge(PrefersGood(), num_raters=1), PolicyEvaluator()
    (one,), (other,) = (evaluator.win_rates(rows, judge) for rows in (pairs, turned))
    assert one.value + other.value == pytest.approx(1.0) and one.value > 0.6
    assert one.name == "policy/win_rate_vs_sft" and one.note.startswith("simulated annotators; ties count ½")
