"""Criteria held against pairs that were set aside, counted by hand, and what is told of them."""

from __future__ import annotations

import pytest

from rlaif.evaluation.rubric import (
    Discrimination,
    Ordered,
    criteria_in,
    criteria_table,
    criterion_record,
    discrimination,
    distinct_criteria,
    held_out,
    ordered_pairs,
    shown_pairs,
)
from rlaif.functional.statistics import Estimate
from rlaif.outcome import Generation
from rlaif.types import Comparison, Completion, Preference, Prompt


def ordered(prompt: int, number: int = 0) -> Ordered:
    texts = Completion(text=f"better {number}"), Completion(text=f"worse {number}")
    return Ordered(Prompt(task="dialogue", text=str(prompt)), *texts)


def test_the_better_response_is_first_and_what_has_none_is_left_out() -> None:
    one, two = Completion(text="one"), Completion(text="two")
    prompt = Prompt(task="dialogue", text="Hi")
    pair, twins = Comparison(prompt=prompt, first=one, second=two), Comparison(prompt=prompt, first=one, second=one)
    labels = [Preference(comparison=pair, p_first=p) for p in (0.51, 0.49, 0.5)]
    labels += [Preference(comparison=pair, p_first=None, missing="no"), Preference(comparison=twins, p_first=0.9)]
    found = ordered_pairs(labels)
    assert found == [Ordered(prompt, one, two), Ordered(prompt, two, one)]
    assert found[1].shown == ("Hi", "two", "one")


@pytest.mark.parametrize(
    ("num_prompts", "share", "num_tested"),
    [(0, 0.5, 0), (1, 0.9, 0), (2, 0.01, 1), (2, 0.99, 1), (4, 0.01, 1), (4, 0.5, 2), (4, 0.99, 3), (10, 0.3, 3)],
)
def test_whole_prompts_are_set_aside_and_each_side_has_one(num_prompts: int, share: float, num_tested: int) -> None:
    pairs = [ordered(prompt, number) for prompt in range(num_prompts) for number in range(2)]
    shown, tested = held_out(pairs, share, seed=0)
    assert len({pair.prompt.id for pair in tested}) == num_tested
    assert len(tested) == 2 * num_tested and len(shown) == 2 * (num_prompts - num_tested)
    assert [pair for pair in pairs if pair in shown] == shown and not set(shown) & set(tested)


def test_the_seed_chooses_what_is_set_aside() -> None:
    pairs = [ordered(prompt) for prompt in range(20)]
    assert held_out(pairs, 0.5, seed=0) == held_out(pairs, 0.5, seed=0) != held_out(pairs, 0.5, seed=1)


@pytest.mark.parametrize(("num_requests", "per_request"), [(3, 2), (5, 3), (2, 9), (1, 5)])
def test_requests_take_the_pairs_in_turn(num_requests: int, per_request: int) -> None:
    """No pair is shown twice more often than another, and none twice in a request."""
    pairs = [ordered(prompt) for prompt in range(5)]
    groups = shown_pairs(pairs, num_requests, per_request, seed=0)
    assert [len(group) for group in groups] == [min(per_request, 5)] * num_requests
    assert all(len(set(group)) == len(group) for group in groups)
    counts = [sum(pair in group for group in groups) for pair in pairs]
    assert max(counts) - min(counts) <= 1
    assert shown_pairs([], 2, 3, seed=0) == [[], []]


def test_a_question_has_at_most_200_characters() -> None:
    longest = "a" * 199 + "?"
    assert criteria_in(Generation(text=f"{longest}\na{longest}\n")) == [longest]


def test_a_line_is_read_without_its_bullet_and_the_last_of_a_cut_reply_not_at_all() -> None:
    text = '1) Is it short?\n• Is it true?\n12. Is it kind?\nIt is.\n- "Is it 2. or 3.?"\nIs it whole?'
    questions = ["Is it short?", "Is it true?", "Is it kind?", "Is it 2. or 3.?", "Is it whole?"]
    assert criteria_in(Generation(text=text)) == questions
    assert criteria_in(Generation(text=text, finished=False)) == questions[:-1]


def test_questions_that_differ_in_capitals_alone_are_one() -> None:
    replies = [Generation(text="Is it short?\nIs it true?"), Generation(text="is it SHORT?\nIs it kind?")]
    assert distinct_criteria(replies) == ["Is it short?", "Is it true?", "Is it kind?"]


def test_a_criterion_is_right_where_the_better_response_meets_it_more_probably() -> None:
    pairs = [ordered(prompt) for prompt in range(6)]
    found = discrimination("Is it?", pairs, [0.9, 0.2, 0.5, None, 0.7, 0.6], [0.1, 0.3, 0.5, 0.1, None, 0.5], 0.95)
    assert (found.rate.value, found.rate.n, found.num_missing) == (2.5 / 4, 4, 2)
    nothing = discrimination("Is it?", pairs, [None] * 6, [0.1] * 6, 0.95)
    assert (nothing.rate, nothing.num_missing) == (Estimate(None, None, None, 0, "no pair could be judged"), 6)
    assert not nothing.is_kept


@pytest.mark.parametrize(("low", "kept"), [(0.51, True), (0.5, False), (0.49, False), (None, False)])
def test_a_criterion_is_kept_above_one_half(low: float | None, kept: bool) -> None:
    assert Discrimination("Is it?", Estimate(0.7, low, 0.9, 5, ""), 0).is_kept is kept


def test_the_table_of_criteria() -> None:
    told = Discrimination("Is it short?", Estimate(0.75, 0.6, 0.9, 12, ""), 3)
    untold = Discrimination("Is it true?", Estimate(None, None, None, 0, "no pair could be judged"), 15)
    records = [criterion_record(told, kept=True), criterion_record(untold, kept=False)]
    assert records[0] == {
        "asks": "Is it short?",
        "rate": 0.75,
        "low": 0.6,
        "high": 0.9,
        "num_prompts": 12,
        "num_missing": 3,
        "kept": True,
    }
    table = criteria_table(records, 0.9)
    assert table.columns == ("criterion", "better response meets it", "90 % interval", "missing", "")
    assert table.rows == (
        ("Is it short?", "75.0 %", "60.0 % to 90.0 %", "3", "kept"),
        ("Is it true?", "–", "– to –", "15", "dropped"),
    )
