"""Who is asked what: raters and the slot they see first, ratings, people's labels, harmless rates of several raters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rlaif.errors import ConfigError
from rlaif.evaluation.collapse import collapse_figures
from rlaif.evaluation.harmless import harmless_figures
from rlaif.evaluation.judges import (
    AnnotatorJudge,
    LabelJudge,
    PeopleJudge,
    RatingJudge,
    ResponseRating,
    label_sources,
    read_ratings,
)
from rlaif.evaluation.matches import HarmlessNames
from rlaif.evaluation.truth import TrueQuality, judge_accuracy_figures
from rlaif.evaluation.votes import Votes, annotator_votes, harmless_votes
from rlaif.types import Comparison, Completion, Figure, Preference, Prompt

PAIRS = [
    Comparison(
        prompt=Prompt(task="dialogue", text=str(number)), first=Completion(text="one"), second=Completion(text="two")
    )
    for number in range(20)
]


@dataclass
class Listening:
    """Annotators who like the text ``one``, say how much, and remember what they were shown."""

    identity: str = "listening"
    shown: dict[int, list[str]] = field(default_factory=dict)

    def prefer(self, comparisons: Sequence[Comparison], rater: int = 0) -> list[float]:
        self.shown[rater] = [pair.first.text for pair in comparisons]
        return [0.75 if pair.first.text == "one" else 0.25 for pair in comparisons]

    def harmless(self, prompts: Sequence[Prompt], responses: Sequence[str], rater: int = 0) -> list[bool]:
        return [rater < len(response) for response in responses]


def test_each_rater_sees_the_other_order_and_its_answer_is_turned_back() -> None:
    annotators = Listening()
    assert annotator_votes(annotators, PAIRS, 2, first_rater=5) == [(0.75, 0.75)] * 20
    assert list(annotators.shown) == [5, 6]
    assert all({one, other} == {"one", "two"} for one, other in zip(*annotators.shown.values(), strict=True))
    assert 4 <= annotators.shown[5].count("one") <= 16, "about half of the pairs are turned"


def test_raters_are_counted_from_0_and_there_is_one_unless_told() -> None:
    annotators = Listening()
    assert AnnotatorJudge(annotators).votes(PAIRS[:2]) == [(0.75,)] * 2 and list(annotators.shown) == [0]
    AnnotatorJudge(annotators, num_raters=2, first_rater=3).votes(PAIRS[:2])
    assert list(annotators.shown) == [0, 3, 4]
    assert AnnotatorJudge(annotators).harmless([PAIRS[0].prompt], ["ab"]) == [(1.0,)]
    assert AnnotatorJudge(annotators, num_raters=3).harmless([PAIRS[0].prompt], ["ab"]) == [(1.0, 1.0, 0.0)]
    assert harmless_votes(annotators, [PAIRS[0].prompt] * 2, ["", "a"], 2) == [(0.0, 0.0), (1.0, 0.0)]


def test_labels_of_a_model_are_hard_verdicts() -> None:
    answers = (0.51, 0.5, 0.49, None, 0.0)
    labels = [
        Preference(comparison=pair, p_first=p, missing=None if p is not None else "no")
        for pair, p in zip(PAIRS, answers, strict=False)
    ]
    judge = LabelJudge(labels, model="m")
    assert judge.votes(PAIRS[:6]) == [(1.0,), (0.5,), (0.0,), (), (0.0,), ()] and judge.name == "LLM judge m"


def test_of_several_labels_of_people_the_last_counts_and_all_sources_are_named() -> None:
    labels = [
        Preference(comparison=PAIRS[0], p_first=0.0, source="tutors"),
        Preference(comparison=PAIRS[0], p_first=0.75, source="crowd"),
        Preference(comparison=PAIRS[1], p_first=1.0),
    ]
    assert PeopleJudge(labels).votes(PAIRS[:1]) == [(0.75,)]
    assert PeopleJudge(labels).name == label_sources(labels) == "crowd and tutors labels of the data"
    assert PeopleJudge(labels, "students").name == "students"


def test_the_higher_rating_wins_whatever_the_scale() -> None:
    def rated(text: str, rater: str, rating: float) -> ResponseRating:
        return ResponseRating(prompt=PAIRS[0].prompt.text, response=text, rating=rating, rater=rater)

    ratings = [rated("one", "c", -3.0), rated("two", "c", -2.0), rated("one", "b", 7.0), rated("two", "b", 7.0)]
    ratings += [rated("two", "a", 1.0), rated("one", "a", 9.0), rated("one", "d", 5.0)]
    assert RatingJudge(ratings, name="students").votes(PAIRS[:2]) == [(1.0, 0.5, 0.0), ()]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"prompt": "p", "response": "r", "rating": true}', "rating=True is no number"),
        ('{"prompt": "p", "response": "r", "rating": "5"}', "rating='5' is no number"),
        ('{"response": "r", "rating": 5}', "lacks 'prompt'"),
        ('["p", "r", 5]', ""),
        ("{", ""),
    ],
)
def test_a_line_that_is_no_rating_is_named_by_its_number(line: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "ratings.jsonl"
    path.write_text('{"prompt": "p", "response": "r", "rating": 5}\n' + line + "\n")
    with pytest.raises(ConfigError) as error:
        read_ratings(path)
    assert error.value.problems[0].startswith(f"{path}:2: {told}")
    path.write_text('{"prompt": "p", "response": "r", "rating": 5}\n')
    assert read_ratings(path) == [ResponseRating(prompt="p", response="r", rating=5.0, rater="")]


class Exact:
    """Annotators who know how often they prefer the first."""

    def __init__(self, *p_first: float) -> None:
        self.exact = list(p_first)

    def p_first(self, comparisons: Sequence[Comparison]) -> list[float]:
        return self.exact


def test_the_better_text_is_the_one_of_most_annotators() -> None:
    assert TrueQuality(Exact(0.51, 0.5, 0.49, 1.0)).votes(PAIRS[:4]) == [(1.0,), (0.5,), (0.0,), (1.0,)]


def test_a_judge_is_right_where_it_names_the_better_text() -> None:
    """Right, wrong, a tie, no verdict; and a pair of equal quality, which has no better text."""

    class Judge:
        name = "a model"

        def votes(self, comparisons: Sequence[Comparison]) -> Votes:
            return [(1.0,), (1.0,), (0.5,), (), (1.0,)]

    (found,) = judge_accuracy_figures(PAIRS[:5], Judge(), TrueQuality(Exact(0.9, 0.1, 0.9, 0.9, 0.5)), name="policy/x")
    assert (found.name, found.value, found.n) == ("policy/x", 1.5 / 3, 3)
    assert found.note.startswith("a model against true quality; ties count ½")


def named(figures: Sequence[Figure]) -> dict[str, Figure]:
    return {figure.name: figure for figure in figures}


PROMPTS = [Prompt(task="dialogue", text=str(number), stratum="ab"[number % 2]) for number in range(4)]


def test_harmless_rates_of_several_raters_and_their_difference_by_prompt() -> None:
    """Each verdict counts in a rate; the difference is of prompts' means, of prompts that both sides have."""
    policy: Votes = [(1.0, 0.0), (1.0, 1.0), (1.0, 1.0), ()]
    sft: Votes = [(0.0, 0.0), (1.0, 0.0), (), (1.0, 1.0)]
    figures = named(harmless_figures(PROMPTS, policy, sft, "people"))
    assert figures["policy/harmless_rate"].value == pytest.approx(5 / 6)
    assert figures["sft/harmless_rate"].value == pytest.approx(3 / 6)
    difference = figures["policy/harmless_rate_difference"]
    assert (difference.value, difference.n) == (0.5, 2)
    assert difference.note.startswith("people; 2 raters per response")
    assert figures["policy/harmless_rate/a"].value == 0.75 and figures["sft/harmless_rate/a"].value == 0.0
    assert figures["policy/harmless_rate_difference/b"].value == 0.5


def test_the_note_of_a_harmless_rate_and_names_that_another_match_has() -> None:
    votes: Votes = [(1.0,), (0.0,), (1.0,), (1.0,)]
    names = HarmlessNames(difference="policy/d", first="policy/r", second=None)
    figures = named(harmless_figures(PROMPTS, votes, votes, "people; sampled", names=names))
    assert {name.rpartition("/")[0] or name for name in figures} == {"policy", "policy/d", "policy/r"}
    assert figures["policy/r"].note == "people; sampled" and figures["policy/d"].value == 0.0
    twice = harmless_figures(PROMPTS, [row * 2 for row in votes], votes, "people; sampled", names=names)
    assert named(twice)["policy/r"].note == "people; sampled, 2 raters per response"


def test_entropy_and_diversity_of_prompts_with_unequal_numbers_of_samples() -> None:
    """Of the first prompt's three samples two are equal: 2 of 3 pairs differ; of the second's two both do."""
    samples, logprobs = [["a", "a", "b"], ["c", "d"]], [[-1.0, -1.0, -4.0], [-2.0, -2.0]]
    figures = named(collapse_figures("policy", PROMPTS[:2], samples, logprobs))
    assert figures["policy/sample_diversity"].value == pytest.approx((2 / 3 + 1) / 2)
    assert figures["policy/entropy"].value == pytest.approx(10 / 5)
    assert figures["policy/entropy"].note.startswith("no judge; 2 samples of 2 prompts")
    assert list(named(collapse_figures("sft", PROMPTS[:2], samples))) == ["sft/sample_diversity"]
