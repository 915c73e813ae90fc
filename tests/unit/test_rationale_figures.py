"""Rationales that are all alike, or a word each, fail a check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from rlaif.evaluation import rationales as rationales_module
from rlaif.evaluation.alignment import label_figures
from rlaif.evaluation.catalogue import run_checks
from rlaif.evaluation.checks import Check
from rlaif.types import Comparison, Completion, Figure, Judgment, Preference, Prompt

NAME = "labeler/distinct_rationales"


def labels(rationales: Sequence[str], *, judge: str = "", missing: str | None = None) -> list[Preference]:
    """One label for every two rationales, of its two orders."""
    return [
        Preference(
            comparison=Comparison(
                prompt=Prompt(task="dialogue", text=f"prompt {number}"),
                first=Completion(text="a"),
                second=Completion(text="b"),
            ),
            p_first=0.5,
            judgments=(
                Judgment(order="given", prompt="p", reply=pair[0], p_slot1=0.5, judge=judge, missing=missing),
                Judgment(order="swapped", prompt="p", reply=pair[1], p_slot1=0.5, judge=judge, missing=missing),
            ),
        )
        for number, pair in enumerate(zip(rationales[::2], rationales[1::2], strict=True))
    ]


def figure(rows: Sequence[Preference]) -> Figure | None:
    return next((item for item in label_figures(rows) if item.name == NAME), None)


def outcome(rows: Sequence[Preference]) -> Check:
    (check,) = [item for item in run_checks(label_figures(rows)) if item.figure == NAME]
    return check


@pytest.mark.parametrize(
    "rationales",
    [
        ["<think>"] * 48,
        ["Here is a comparison of the two responses:"] * 48,
        ["Here is a comparison:", "Let us compare the two responses.", "**Comparison**\n\nBoth."] * 16,
        [word for word in ("Good", "Bad", "Clear.", "**Response**", "Fine", "No", "Yes", "Well") for _ in range(6)],
    ],
)
def test_alike_or_a_word(rationales: list[str]) -> None:
    check = outcome(labels(rationales))
    assert not check.passed
    assert check.name == "the rationales differ from pair to pair"
    assert "rlaif-labels show" in check.detail


def test_rationales_of_their_own() -> None:
    found = figure(labels([f"The {number}th tells more." for number in range(40)]))
    assert found is not None and (found.value, found.n) == (1.0, 20)
    assert outcome(
        labels([f"第{number}个回答更完整，更准确，也更有礼貌，因此更好一些。" for number in range(40)])
    ).passed


def test_two_equal_ones_of_ten_are_one_pair_of_45() -> None:
    found = figure(labels(["The same.", "The same.", *(f"Number {number}." for number in range(8))]))
    assert found is not None and found.value == pytest.approx(44 / 45)
    assert found.note.endswith('2 of 10 are like "The same."')


def test_few_rationales_or_none_say_nothing() -> None:
    assert figure(labels(["<think>"] * 6)) is None
    assert figure(labels([""] * 40)) is None
    assert figure(labels(["half a"] * 40, missing="rationale cut at 9 tokens")) is None
    assert figure([]) is None


def test_pairs_that_are_labeled_twice_count_once() -> None:
    found = figure(3 * labels([f"The {number}th tells more." for number in range(10)]))
    assert found is not None and found.value == 1.0


def test_the_member_of_a_panel_whose_rationales_are_alike_is_found() -> None:
    own = [f"The {number}th tells more." for number in range(10)]
    both = labels(own, judge="one") + labels(["<think>"] * 10, judge="other")
    found = figure(both)
    assert found is not None and found.value == 0.0 and "<think>" in found.note


def test_recorded_verdicts_are_no_rationales() -> None:
    rows = [
        replace(label, judgments=tuple(replace(judgment, prompt="", reply="1") for judgment in label.judgments))
        for label in labels(["The same."] * 40)
    ]
    assert figure(rows) is None


@pytest.mark.parametrize(
    ("text", "other", "is_word"),
    [
        ("a" * 20, "b" * 20, True),
        (f"  {'a' * 20}\n", "b", True),
        ("a" * 21, "b" * 21, False),
        ("two words", "two others", False),
    ],
)
def test_a_word_has_at_most_twenty_characters(text: str, other: str, is_word: bool) -> None:
    """Words count as equal, whichever they are; of nine equal texts and another, 9 of 45 pairs differ."""
    found = figure(labels([text] * 9 + [other]))
    assert found is not None and found.value == pytest.approx(0.0 if is_word else 9 / 45)


def test_eight_rationales_are_enough_and_seven_are_not() -> None:
    rationales = [f"Number {number} tells more." for number in range(8)]
    assert figure(labels(rationales)) is not None
    assert figure(labels([*rationales[:7], ""])) is None


def test_the_most_frequent_text_is_shown_with_its_first_sixty_characters() -> None:
    often, seldom = "often " * 20, "seldom " * 20
    found = figure(labels([often] * 5 + [seldom] * 3))
    assert found is not None and found.value == pytest.approx(2 * 5 * 3 / (8 * 7))
    assert found.note.endswith(f'; 5 of 8 are like "{("often " * 10).strip()} "')
    distinct = figure(labels([f"Number {number} tells more." for number in range(8)]))
    assert distinct is not None and "are like" not in distinct.note


def test_of_several_rationales_of_one_order_the_first_counts() -> None:
    rows = labels([f"Number {number} tells more." for number in range(10)])
    again = [replace(label.judgments[0], reply="The same.") for label in rows]
    found = figure([replace(row, judgments=(*row.judgments, more)) for row, more in zip(rows, again, strict=True)])
    assert found is not None and found.value == 1.0


def test_every_member_of_a_large_panel_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rationales are chosen by the hash of their case: the judges' names decide nothing."""
    monkeypatch.setattr(rationales_module, "MOST", 100)
    alpha = labels([f"reason {number}" for number in range(200)], judge="alpha")
    omega = labels(["Here is a comparison of the two responses:"] * 200, judge="omega")
    panel = [replace(a, judgments=(*a.judgments, *o.judgments)) for a, o in zip(alpha, omega, strict=True)]
    assert not outcome(panel).passed
