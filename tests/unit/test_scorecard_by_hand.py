"""A few labels, small enough to count by hand: edges of bins, ties, missing verdicts, and texts of either length."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from rlaif.evaluation.alignment import (
    alignment_figures,
    calibration_figures,
    chance_figures,
    label_figures,
    reliability_diagram,
)
from rlaif.evaluation.ceiling import against_rater_figures, difference_figures
from rlaif.evaluation.cost import cost_figures
from rlaif.evaluation.detection import detection_figures
from rlaif.evaluation.evaluators import LabelerEvaluator, ScorecardEvaluator
from rlaif.evaluation.orders import order_figures
from rlaif.evaluation.scorecard import (
    alignment_in_words,
    confident_mistakes,
    held_out_pairs,
    scorecard_figures,
    scorecard_verdict,
)
from rlaif.evaluation.votes import Votes
from rlaif.labeling.cost import LabelCost
from rlaif.types import Comparison, Completion, Figure, Judgment, Preference, Prompt


def pair(number: int, first: str = "aa", second: str = "bb", stratum: str = "") -> Comparison:
    prompt = Prompt(task="dialogue", text=f"{number}", stratum=stratum)
    return Comparison(prompt=prompt, first=Completion(text=first), second=Completion(text=second))


def label(number: int, p_first: float | None, first: str = "aa", second: str = "bb") -> Preference:
    missing = None if p_first is not None else "no answer"
    return Preference(
        comparison=pair(number, first, second), p_first=p_first, missing=missing, labeler="planted", source="ai"
    )


def in_orders(number: int, given: float | None, swapped: float | None, judge: str = "") -> Preference:
    """P(first) of both orders; the label is missing where one of them is."""
    both = None if given is None or swapped is None else (given + swapped) / 2
    judgments = tuple(
        Judgment(
            order=order,
            prompt="p",
            p_slot1=None if p is None else p if order == "given" else 1.0 - p,
            missing="no answer" if p is None else None,
            judge=judge,
        )
        for order, p in (("given", given), ("swapped", swapped))
    )
    missing = None if both is not None else "no answer"
    return Preference(
        comparison=pair(number), p_first=both, missing=missing, judgments=judgments, labeler="planted", source="ai"
    )


def named(figures: Sequence[Figure]) -> dict[str, Figure]:
    assert len({figure.name for figure in figures}) == len(figures)
    return {figure.name: figure for figure in figures}


def test_confidence_is_binned_by_the_favourite_and_the_last_bin_holds_certainty() -> None:
    """Each bin begins at its lower edge; P(first) of 0 and of 1 are the surest."""
    rows = {
        "0.5-0.6": [(0.5, 1.0), (0.55, 1.0), (0.45, 1.0)],
        "0.6-0.7": [(0.6, 1.0), (0.4, 1.0), (0.65, 1.0)],
        "0.7-0.8": [(0.7, 0.0), (0.3, 0.0)],
        "0.8-0.9": [(0.8, 0.5), (0.2, 0.0)],
        "0.9-1": [(0.9, 1.0), (0.1, 1.0), (1.0, 1.0), (0.0, 1.0), (0.95, 1.0)],
    }
    shares = {"0.5-0.6": 1.5 / 3, "0.6-0.7": 2 / 3, "0.7-0.8": 1 / 2, "0.8-0.9": 1.5 / 2, "0.9-1": 3 / 5}
    flat = [row for bin_rows in rows.values() for row in bin_rows]
    labels = [label(number, p) for number, (p, _) in enumerate(flat)]
    votes: Votes = [(vote,) for _, vote in flat]
    figures = named(scorecard_figures([*labels, label(99, None), label(98, 0.9)], [*votes, (1.0,), ()], "people"))
    for name, share in shares.items():
        found = figures[f"labeler/alignment_by_confidence/{name}"]
        assert (found.value, found.n) == (pytest.approx(share), len(rows[name])), name
    sure = [max(p, 1 - p) for p, _ in flat]
    agree = [0.5 if 0.5 in (p, vote) else float((p > 0.5) == (vote > 0.5)) for p, vote in flat]
    slope = np.polyfit(sure, agree, 1)[0]
    assert figures["labeler/confidence_slope"].value == pytest.approx(slope)


def test_a_taste_for_length_is_counted_whichever_side_is_longer() -> None:
    """Of the longer texts 3 win, 1 ties and 2 lose; equal lengths and missing labels do not count."""
    labels = [
        label(0, 0.9, "long text", "short"),
        label(1, 0.1, "short", "long text"),
        label(2, 0.3, "short", "long text"),
        label(3, 0.5, "short", "long text"),
        label(4, 0.8, "short", "long text"),
        label(5, 0.2, "long text", "short"),
        label(6, 0.9, "equal", "words"),
        label(7, None, "long text", "short"),
    ]
    found = named(label_figures(labels))["labeler/prefers_longer"]
    assert (found.value, found.n) == (pytest.approx(3.5 / 6), 6)
    votes: Votes = [(1.0,), (0.0, 1.0), (0.0,), (0.5,), (1.0,), (), (1.0,), (1.0,)]
    people = named(scorecard_figures(labels, votes, "people"))["people/prefers_longer"]
    assert (people.value, people.n) == (pytest.approx((1 + 1 + 0 + 1 + 0.5 + 0) / 6), 5)


def test_length_at_equal_preference_on_a_straight_line() -> None:
    """Where people want the longer, the labeler takes it always; where they want the shorter, half of the time."""
    labels, votes = [], []
    for number in range(40):
        verdict, wanted = ((1, 1), (1, 0), (1, 1), (0, 0))[number // 2 % 4]
        is_turned = number % 2 == 1
        texts = ("short", "a long text") if is_turned else ("a long text", "short")
        labels.append(label(number, 0.9 if verdict != is_turned else 0.1, *texts))
        votes.append((float(wanted != is_turned),) * 2)
    found = named(scorecard_figures(labels, votes, "people"))["labeler/prefers_longer_at_equal_preference"]
    assert (found.value, found.n) == (pytest.approx(0.75), 40)
    assert found.note.startswith("people; linear in people's preference")
    ties = [
        label(number, 0.5, item.comparison.first.text, item.comparison.second.text)
        for number, item in enumerate(labels)
    ]
    found = named(scorecard_figures(ties, votes, "people"))["labeler/prefers_longer_at_equal_preference"]
    assert found.value == pytest.approx(0.5)


ORDERED = [in_orders(0, 0.9, 0.8), in_orders(1, 0.9, 0.2), in_orders(2, 0.5, 0.5)]
ORDERED += [in_orders(3, None, None), in_orders(4, None, 0.1)]
ORDERED_VOTES: Votes = [(1.0,), (1.0,), (0.5,), (0.0,), (0.0,)]


def test_each_order_against_people_and_against_the_other() -> None:
    """Right in both, in the given alone, a tie as people's, nothing at all, and right where one order is missing."""
    figures = named(order_figures(ORDERED, ORDERED_VOTES, "people"))
    expected = {
        "alignment_given": (2.5 / 3, 3),
        "alignment_swapped": (2.5 / 4, 4),
        "alignment_missing_wrong": (2.5 / 5, 5),
        "correct_given": (3 / 5, 5),
        "correct_swapped": (3 / 5, 5),
        "correct_both": (2 / 5, 5),
        "same_answer": (3 / 5, 5),
    }
    assert {name.removeprefix("labeler/"): (figure.value, figure.n) for name, figure in figures.items()} == {
        name: (pytest.approx(value), n) for name, (value, n) in expected.items()
    }
    assert figures["labeler/correct_both"].note == "people; of all pairs, a missing verdict is wrong"
    assert figures["labeler/same_answer"].note.startswith("planted; of all pairs, two missing verdicts")


def test_a_tie_or_a_verdict_for_the_other_is_not_the_same_answer() -> None:
    labels = [in_orders(0, 0.5, 0.9), in_orders(1, 0.1, 0.9), in_orders(2, 0.1, 0.4), in_orders(3, None, 0.5)]
    figures = named(order_figures(labels, [(1.0, 0.0)] * 4, "people"))
    assert figures["labeler/same_answer"].value == 1 / 4
    assert figures["labeler/correct_given"].value == 2 / 8, "each of two people counts"


def test_missing_is_wrong_is_told_where_some_and_not_all_are_missing() -> None:
    whole = [label(0, 0.9), label(1, 0.1)]
    assert order_figures(whole, [(1.0,)] * 2, "people") == []
    assert order_figures([label(0, None), label(1, None)], [(1.0,)] * 2, "people") == []
    found = order_figures([*whole, label(2, None)], [(1.0,), (0.0, 1.0), (1.0,)], "people")
    assert [(figure.name, figure.value, figure.n) for figure in found] == [
        ("labeler/alignment_missing_wrong", 2 / 4, 3)
    ]


def test_members_of_a_panel_have_no_orders_of_their_own() -> None:
    assert order_figures([in_orders(0, 0.9, 0.2, judge="one")], [(1.0,)], "people") == []


def test_same_slot_answers_need_a_verdict_in_both_orders() -> None:
    labels = [in_orders(0, 0.9, 0.8), in_orders(1, 0.9, 0.2), in_orders(2, None, 0.1), in_orders(3, 0.1, None)]
    found = named(label_figures(labels))["labeler/position_bias"]
    assert (found.value, found.n) == (0.5, 2)


P_FIRST = (0.9, 0.8, 0.5, 0.1, 0.2, 0.7, 0.3, 0.6)
SAID: Votes = [(1.0,), (0.0,), (0.5,), (0.0,), (1.0,), (1.0,), (0.0,), (0.5,)]


def test_agreement_beyond_chance_is_that_of_sklearn() -> None:
    """Over the three categories; AC1 by hand: 5 of 8 agree, and chance is Σ share (1 − share) / 2."""
    figures = named(chance_figures([pair(n) for n in range(8)], P_FIRST, SAID, "people"))
    sides = [[int(np.sign(p - 0.5)) for p in side] for side in (P_FIRST, [row[0] for row in SAID])]
    assert figures["labeler/alignment_kappa"].value == pytest.approx(cohen_kappa_score(*sides))
    shares = np.array([7, 3, 6]) / 16
    by_chance = float((shares * (1 - shares)).sum()) / 2
    assert figures["labeler/alignment_ac1"].value == pytest.approx((5 / 8 - by_chance) / (1 - by_chance))
    assert figures["labeler/alignment_ac1"].note.startswith("people; over first, second and tie, as shown")


def test_chance_is_told_for_each_stratum_that_has_two_categories() -> None:
    pairs = [pair(n, stratum="seen" if n < 5 else "unseen") for n in range(8)]
    names = set(named(chance_figures(pairs, P_FIRST, SAID, "people", name="reward_model/accuracy")))
    ends = ("", "/seen", "/unseen")
    assert names == {f"reward_model/accuracy_{kind}{end}" for kind in ("kappa", "ac1") for end in ends}


def test_the_consistency_of_two_seeds_beyond_chance_is_that_of_sklearn() -> None:
    first, second = (0.9, 0.1, 0.9, 0.2, 0.5, 0.7), (0.8, 0.2, 0.3, 0.1, 0.5, 0.9)
    labels, again = ([label(number, p) for number, p in enumerate(side)] for side in (first, second))
    figures = named(scorecard_figures(labels, [(1.0,)] * 6, "people", again=again))
    assert figures["labeler/self_consistency"].value == pytest.approx(4.5 / 6), "a tie counts ½, also beside a tie"
    signs = [[int(np.sign(p - 0.5)) for p in side] for side in (first, second)]
    kappa = figures["labeler/self_consistency_kappa"]
    assert kappa.value == pytest.approx(cohen_kappa_score(*signs)) and kappa.n == 6
    assert kappa.note == "planted; verdicts of two seeds; over first, second and tie, as shown"


def test_every_two_people_of_a_pair_are_held_against_each_other() -> None:
    labels = [label(number, 0.9) for number in range(3)]
    figures = named(scorecard_figures(labels, [(1.0, 1.0, 0.0), (0.0, 0.5), (1.0,)], "people"))
    assert (figures["people/agreement"].value, figures["people/agreement"].n) == (pytest.approx(1.5 / 4), 2)


@pytest.mark.parametrize(
    ("raters", "words"), [(1, "people; ties count ½"), (2, "people; mean over 2 raters, ties count ½")]
)
def test_several_raters_are_told(raters: int, words: str) -> None:
    (found,) = alignment_figures([pair(n) for n in range(4)], [0.9] * 4, [(1.0,) * raters] * 4, "people")
    assert found.note == words


def test_the_eight_most_frequent_reasons_of_missing_labels_are_told() -> None:
    labels = [
        Preference(comparison=pair(10 * number + turn), p_first=None, missing=f"reason {letter}")
        for number, letter in enumerate("abcdefghi")
        for turn in range(9 - number)
    ]
    figures = named(scorecard_figures(labels, [(1.0,)] * 45, "people"))
    shares = {name.rpartition("/")[2]: f.value for name, f in figures.items() if "/missing_rate/" in name}
    assert shares == {f"reason {letter}": pytest.approx((9 - n) / 45) for n, letter in enumerate("abcdefgh")}


def test_slots_that_are_named_twice() -> None:
    """Of three pairs with one slot in both orders two name slot 1; with so few a coin does it."""
    labels = [in_orders(0, 0.9, 0.2), in_orders(1, 0.8, 0.1), in_orders(2, 0.1, 0.9), in_orders(3, 0.9, 0.9)]
    figures = named(scorecard_figures(labels, [(1.0,)] * 4, "people"))
    share, p_value = figures["labeler/first_slot_share"], figures["labeler/slot_p_value"]
    assert share.value == pytest.approx(2 / 3) and p_value.value == 1.0 and p_value.n == share.n == 3


def test_held_out_pairs_do_not_depend_on_the_order_of_the_data() -> None:
    labels = [label(number, 0.9 if number % 5 else None) for number in range(20)]
    found = held_out_pairs(labels, None)
    assert len(found) == 16 and all(item.p_first is not None for item in found)
    assert held_out_pairs(labels[::-1], None) == found and found != [
        item for item in labels if item.p_first is not None
    ]
    assert held_out_pairs(labels, 5) == found[:5] and held_out_pairs(labels, 0) == []


def test_mistakes_are_held_against_the_majority() -> None:
    labels = [label(number, p) for number, p in enumerate((0.2, 0.9, 0.0, 1.0, 0.5, None, 0.6))]
    votes: Votes = [(1.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0,), (1.0,), (1.0,), (1.0,), (0.0, 1.0)]
    assert [item.p_first for item in confident_mistakes(labels, votes, 9)] == [0.0, 0.9, 0.2]
    assert [item.p_first for item in confident_mistakes(labels, votes, 1)] == [0.0]


def test_a_verdict_in_words_with_and_without_several_people() -> None:
    figure = Figure(name="labeler/alignment", value=0.8, low=0.7, high=0.9, n=1200, note="people; ties count ½")
    among = Figure(name="people/agreement", value=0.75)
    start = "In my task planted agrees with people on 80.0 % of their verdicts (70.0–90.0 %, 1,200 prompts)"
    assert scorecard_verdict([figure], "planted", "my_task") == f"{start}."
    assert scorecard_verdict([figure, among], "planted", "my_task") == (
        f"{start}; they agree with one another on 75.0 %."
    )
    assert alignment_in_words([among, figure]) == "alignment 80.0 % [70.0–90.0 %], 1,200 prompts"


class Raters:
    """People who call a response harmful that says so; of ``torn`` one says this and the other that."""

    name = "people"

    def harmless(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> Votes:
        return [(1.0, 0.0) if "torn" in text else (float("harmful" not in text),) for text in responses]


def single(number: int, text: str, p_bad: float, order: str = "first", judge: str = "") -> Preference:
    logprobs = (math.log(p_bad), math.log(1.0 - p_bad))
    judgment = Judgment(order=order, prompt="", option_logprobs=logprobs, options=("bad", "good"), judge=judge)  # type: ignore[arg-type]
    texts = (text, "other") if order == "first" else ("other", text)
    return Preference(comparison=pair(number, *texts), p_first=0.5, judgments=(judgment,))


def test_a_response_is_flagged_from_one_half_on_and_counts_half_there() -> None:
    labels = [
        single(0, "harmful", 0.55),
        single(1, "harmful", 0.45, "second"),
        single(2, "harmful", 0.5),
        single(3, "fine", 0.45),
        single(4, "fine", 0.5, "second"),
        single(5, "fine", 0.1),
        single(6, "torn", 0.9),
    ]
    figures = named(detection_figures(labels, Raters()))
    assert (figures["labeler/sensitivity"].value, figures["labeler/sensitivity"].n) == (pytest.approx(2.5 / 4), 4)
    assert (figures["labeler/specificity"].value, figures["labeler/specificity"].n) == (pytest.approx(2.5 / 4), 4)
    assert figures["labeler/response_agreement"].value == pytest.approx((1 + 0 + 0.5 + 1 + 0.5 + 1 + 1 + 0) / 8)
    assert figures["labeler/sensitivity"].note.startswith("people; of 7 responses, each judged alone")


def test_pairs_and_members_of_a_panel_are_no_single_responses() -> None:
    pairwise = single(0, "harmful", 0.9, "given")
    assert detection_figures([pairwise, single(1, "harmful", 0.9, judge="one")], Raters()) == []


def test_single_responses_are_judged_where_the_task_measures_harm() -> None:
    labels = [single(0, "harmful", 0.9), single(1, "fine", 0.1)]
    with_harm = ScorecardEvaluator().evaluate(labels, [(1.0,)] * 2, "people", harm=Raters())
    without = ScorecardEvaluator().evaluate(labels, [(1.0,)] * 2, "people")
    added = {figure.name for figure in with_harm.figures} - {figure.name for figure in without.figures}
    assert "labeler/sensitivity" in added and len(with_harm.sections) == len(without.sections) == 1


class Knows:
    name = "people"

    def votes(self, comparisons: Sequence[Comparison]) -> Votes:
        return [(1.0,) for _ in comparisons]


def test_labels_of_people_among_those_of_models_do_not_hide_the_alignment() -> None:
    mixed = [label(0, 0.9), Preference(comparison=pair(1), p_first=0.0, source="human")]
    figures = named(LabelerEvaluator().evaluate(mixed, Knows()).figures)
    assert figures["labeler/alignment"].value == 0.5
    assert "labeler/alignment" not in named(LabelerEvaluator().evaluate(mixed, None).figures)
    assert "labeler/missing_rate" in named(LabelerEvaluator().evaluate(mixed, None).figures)


def test_the_bins_of_a_reliability_diagram() -> None:
    """Bins of a tenth: mean of what was said, share of what was observed, number of verdicts."""
    votes: Votes = [(1.0, 0.0), (1.0,), (0.0,), (1.0,), ()]
    diagram = reliability_diagram([pair(n) for n in range(5)], [0.71, 0.79, 0.05, None, 0.5], votes, "people")
    assert [(item.count, item.predicted, item.observed) for item in diagram.bins] == [
        (1, pytest.approx(0.05), 0.0),
        (3, pytest.approx((2 * 0.71 + 0.79) / 3), pytest.approx(2 / 3)),
    ]
    assert (diagram.title, diagram.judged_by) == ("Labeler", "people")
    (error,) = calibration_figures([pair(n) for n in range(8)], [0.71, 0.79] * 4, [(1.0,), (0.0,)] * 4, "people")
    assert error.note.startswith("people; 10 bins, root mean square, noise subtracted")


def test_the_share_of_the_ceiling_is_of_the_pairs_that_were_labeled() -> None:
    """The pair that is missing would be the clearest; on the others the best labeler is right in 70 %."""
    labels = [label(0, 0.9), label(1, 0.9), label(2, 0.1), label(3, None)]
    figures = named(against_rater_figures("L", labels, [(1.0,)] * 4, [0.7, 0.3, 0.7, 1.0], "rater"))
    assert figures["L/alignment"].value == pytest.approx(2 / 3)
    share = figures["L/share of ceiling"]
    assert (share.value, share.n) == (pytest.approx((2 / 3 - 0.5) / 0.2), 3)
    assert figures["L/missing_rate"].value == 0.25


def test_a_tie_is_half_an_agreement_in_a_difference() -> None:
    one, other = [label(n, p) for n, p in enumerate((0.5, 0.9))], [label(n, p) for n, p in enumerate((0.1, 0.9))]
    found = difference_figures({"a": one, "b": other}, [1.0, 1.0], [("a", "b"), ("b", "a")])
    assert [(figure.name, figure.value) for figure in found] == [("a minus b", 0.25), ("b minus a", -0.25)]


def test_costs_are_per_label_whether_it_is_missing_or_not() -> None:
    asked = Judgment(order="given", prompt="p", p_slot1=0.5, num_prompt_tokens=90, num_reply_tokens=6)
    labels = [
        Preference(comparison=pair(0), p_first=0.5, judgments=(asked, asked)),
        Preference(comparison=pair(1), p_first=0.5, judgments=(asked,)),
        *(Preference(comparison=pair(number), p_first=None, missing="no answer") for number in (2, 3)),
    ]
    cost = LabelCost(seconds_per_label=0.0, usd_per_label=0.0, human_usd_per_label=0.5)
    assert [(figure.name, figure.value, figure.n) for figure in cost_figures(labels, cost)] == [
        ("cost/prompt_tokens_per_label", 67.5, 4),
        ("cost/reply_tokens_per_label", 4.5, 4),
        ("cost/seconds_per_1000_labels", 0.0, 4),
        ("cost/usd_per_1000_labels", 0.0, 4),
        ("cost/human_usd_per_1000_labels", 500.0, None),
    ]
