"""Planted labelers of known alignment, position bias, taste for length and calibration.

Every planted value must lie in its 95 % interval in nearly every of a number of draws, so that no test passes
or fails by the luck of one seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from scipy import stats

from rlaif.evaluation.alignment import position_estimate
from rlaif.evaluation.cost import cost_figures
from rlaif.evaluation.scorecard import (
    confident_mistakes,
    scorecard_figures,
    scorecard_verdict,
)
from rlaif.labeling.cost import LabelCost
from rlaif.types import Comparison, Completion, Figure, Judgment, Preference, Prompt

JUDGE = "planted people"
NUM_PAIRS, NUM_DRAWS = 240, 30
ALLOWED_MISSES = 5
"""Of 30 intervals of 95 %: with a chance of 5 % each, more than 5 misses happen once in 300 times."""


@dataclass(frozen=True)
class World:
    """Pairs whose first text people prefer with a known chance, and their votes."""

    rng: np.random.Generator
    comparisons: list[Comparison]
    p_people: np.ndarray
    votes: list[tuple[float, ...]]
    longer: np.ndarray
    """True where the first text is the longer one."""


def draw(seed: int, num_raters: int = 3) -> World:
    """People like the longer text somewhat better; nothing else is known of the texts."""
    rng = np.random.default_rng(seed)
    longer = rng.random(NUM_PAIRS) < 0.5
    p_longer = rng.beta(2.0, 1.2, NUM_PAIRS)
    p_people = np.where(longer, p_longer, 1.0 - p_longer)
    comparisons = [
        Comparison(
            prompt=Prompt(task="dialogue", text=f"{number}"),
            first=Completion(text="a longer text" if first_is_longer else "short"),
            second=Completion(text="brief" if first_is_longer else "another long text"),
        )
        for number, first_is_longer in enumerate(longer.tolist())
    ]
    votes = (rng.random((NUM_PAIRS, num_raters)) < p_people[:, None]).astype(float)
    return World(rng, comparisons, p_people, [tuple(row) for row in votes.tolist()], longer)


def soft(comparison: Comparison, p_first: float | None, missing: str | None = None) -> Preference:
    return Preference(comparison=comparison, p_first=p_first, missing=missing, labeler="planted:1", source="ai")


def in_both_orders(comparison: Comparison, given: float, swapped: float) -> Preference:
    """A label with P(slot 1) of both orders as evidence."""
    judgments = (
        Judgment(order="given", prompt="…", p_slot1=given, num_prompt_tokens=100, num_reply_tokens=10),
        Judgment(order="swapped", prompt="…", p_slot1=swapped, num_prompt_tokens=102, num_reply_tokens=12),
    )
    p_first = (given + 1.0 - swapped) / 2.0
    return Preference(comparison=comparison, p_first=p_first, judgments=judgments, labeler="planted:1", source="ai")


def named(figures: Sequence[Figure]) -> dict[str, Figure]:
    assert len({figure.name for figure in figures}) == len(figures)
    return {figure.name: figure for figure in figures}


def most_misses(planted: dict[str, float], labeler: Callable[[World], list[Preference]]) -> int:
    """In how many of the draws an interval does not hold the planted value: the worst of the figures."""
    count = dict.fromkeys(planted, 0)
    for seed in range(NUM_DRAWS):
        world = draw(seed)
        figures = named(scorecard_figures(labeler(world), world.votes, JUDGE))
        for name, value in planted.items():
            found = figures[name]
            assert found.low is not None and found.high is not None and found.low <= found.value <= found.high
            count[name] += not found.low <= value <= found.high
    return max(count.values())


def one_more_person(world: World, sharpness: float = 0.4) -> list[Preference]:
    """Prefers the first with people's own chance, at one confidence."""
    prefers = world.rng.random(NUM_PAIRS) < world.p_people
    return [soft(c, 0.5 + (sharpness if p else -sharpness)) for c, p in zip(world.comparisons, prefers, strict=True)]


def test_planted_alignment_is_recovered() -> None:
    """One more person agrees with one person as often as two people do: E[p² + (1 − p)²] over Beta(2, 1.2)."""
    a, b = 2.0, 1.2
    square = a * (a + 1) / ((a + b) * (a + b + 1))
    expected = 2 * square - 2 * a / (a + b) + 1
    planted = {"labeler/alignment": expected, "people/agreement": expected, "people/prefers_longer": a / (a + b)}
    assert most_misses(planted, one_more_person) <= ALLOWED_MISSES


@pytest.mark.parametrize("stuck", [0.0, 0.2, 0.6])
def test_planted_position_bias_is_recovered(stuck: float) -> None:
    """In a share of the pairs it names one slot in both orders, slot 1 three times out of four."""

    def labeler(world: World) -> list[Preference]:
        labels = []
        for comparison in world.comparisons:
            if world.rng.random() < stuck:
                slot1 = 0.9 if world.rng.random() < 0.75 else 0.1
                labels.append(in_both_orders(comparison, slot1, slot1 + 0.05))
            else:
                first = 0.8 if world.rng.random() < 0.5 else 0.3
                labels.append(in_both_orders(comparison, first, 1.0 - first))
        return labels

    planted = {"labeler/position_bias": stuck, "labeler/self_consistency": 1.0 - stuck}
    assert most_misses(planted | ({"labeler/first_slot_share": 0.75} if stuck else {}), labeler) <= ALLOWED_MISSES
    if stuck:
        world = draw(0)
        assert named(scorecard_figures(labeler(world), world.votes, JUDGE))["labeler/slot_p_value"].value < 0.05


def test_a_labeler_without_a_favourite_slot_passes_the_binomial_test() -> None:
    """The p-value of slots drawn by a fair coin is below 5 % about once in twenty draws."""
    below = 0
    for seed in range(NUM_DRAWS):
        world = draw(seed)
        slots = np.where(world.rng.random(NUM_PAIRS) < 0.5, 0.9, 0.1)
        labels = [in_both_orders(c, s, s) for c, s in zip(world.comparisons, slots.tolist(), strict=True)]
        p_value = position_estimate(labels).p_value
        assert p_value is not None
        below += p_value < 0.05
    assert below <= ALLOWED_MISSES


@pytest.mark.parametrize("taste", [0.0, 0.3])
def test_planted_taste_for_length_is_recovered_and_none_reads_as_none(taste: float) -> None:
    """Takes the longer in a share of the pairs, else votes like a person: ½ + taste/2 where people are split."""

    def labeler(world: World) -> list[Preference]:
        labels = one_more_person(world)
        for number in np.flatnonzero(world.rng.random(NUM_PAIRS) < taste):
            labels[number] = soft(world.comparisons[number], 0.9 if world.longer[number] else 0.1)
        return labels

    planted = {
        "labeler/prefers_longer_at_equal_preference": 0.5 + taste / 2,
        "labeler/prefers_longer": (1 - taste) * 2.0 / 3.2 + taste,
    }
    assert most_misses(planted, labeler) <= ALLOWED_MISSES


@pytest.mark.parametrize("error", [0.0, 0.15])
def test_planted_calibration_is_recovered(error: float) -> None:
    """Says people's chance moved away from one half by ``error``; people's chances keep clear of the ends."""

    def labeler(world: World) -> list[Preference]:
        said = world.p_people + np.where(world.p_people > 0.5, error, -error)
        return [soft(c, p) for c, p in zip(world.comparisons, said.tolist(), strict=True)]

    count = 0
    for seed in range(NUM_DRAWS):
        world = draw(seed)
        p_people = world.rng.choice([0.2, 0.35, 0.65, 0.8], NUM_PAIRS)
        votes = [tuple(row) for row in (world.rng.random((NUM_PAIRS, 3)) < p_people[:, None]).astype(float).tolist()]
        moved = World(world.rng, world.comparisons, p_people, votes, world.longer)
        found = named(scorecard_figures(labeler(moved), votes, JUDGE))["labeler/ece"]
        assert found.low is not None and found.high is not None
        count += not found.low <= error <= found.high
    assert count <= ALLOWED_MISSES


def test_a_labeler_that_knows_what_it_knows_is_right_where_it_is_sure() -> None:
    """Says people's chance exactly: in each bin it is right as often as it says, and the slope is 1."""

    def labeler(world: World) -> list[Preference]:
        return [soft(c, p) for c, p in zip(world.comparisons, world.p_people.tolist(), strict=True)]

    planted = {"labeler/confidence_slope": 1.0}
    for low, high in ((0.5, 0.6), (0.7, 0.8), (0.9, 1.0)):
        sure = np.linspace(low, high, 1001)
        weight = stats.beta.pdf(sure, 2.0, 1.2) + stats.beta.pdf(1.0 - sure, 2.0, 1.2)
        planted[f"labeler/alignment_by_confidence/{low:g}-{high:g}"] = float(np.average(sure, weights=weight))
    assert most_misses(planted, labeler) <= ALLOWED_MISSES
    world = draw(0)
    figures = scorecard_figures(labeler(world), world.votes, JUDGE)
    assert sum(f.n or 0 for f in figures if f.name.startswith("labeler/alignment_by_confidence/")) == NUM_PAIRS


def test_asking_again_with_another_seed() -> None:
    world = draw(0)
    labels = [soft(c, 0.9) for c in world.comparisons[:4]]
    again = [soft(c, p) for c, p in zip(world.comparisons, (0.7, 0.2, 0.5), strict=False)]
    again.append(soft(world.comparisons[3], None, "no answer"))
    found = named(scorecard_figures(labels, world.votes[:4], JUDGE, again=again))["labeler/self_consistency"]
    assert (found.value, found.n) == (0.5, 3)
    assert "two seeds" in found.note


def test_what_is_missing_is_left_out_and_counted_by_reason() -> None:
    world = draw(0)
    missing = [soft(c, None, "no answer") for c in world.comparisons[:30]]
    missing += [soft(c, None, "rationale cut at 8 tokens") for c in world.comparisons[30:40]]
    present = one_more_person(world)[40:]
    figures = named(scorecard_figures([*missing, *present], world.votes, JUDGE))
    alone = named(scorecard_figures(present, world.votes[40:], JUDGE))
    for name in ("labeler/alignment", "labeler/ece", "labeler/tie_rate", "labeler/prefers_longer_at_equal_preference"):
        assert figures[name] == alone[name]
    assert figures["labeler/missing_rate"].value == 40 / NUM_PAIRS
    assert figures["labeler/missing_rate/no answer"].value == 30 / NUM_PAIRS
    assert figures["labeler/missing_rate/rationale cut at 8 tokens"].value == 10 / NUM_PAIRS


def test_a_labeler_that_is_missing_throughout_has_no_alignment() -> None:
    world = draw(0)
    figures = named(scorecard_figures([soft(c, None, "down") for c in world.comparisons], world.votes, JUDGE))
    assert figures["labeler/missing_rate"].value == 1.0
    assert {name for name in figures if name.startswith("labeler/")} == {
        "labeler/missing_rate",
        "labeler/missing_rate/down",
    }
    assert "no verdicts of people" in scorecard_verdict(list(figures.values()), "planted", "dialogue")


def test_a_labeler_of_single_responses_has_no_position_bias_rather_than_none() -> None:
    world = draw(0)
    figures = named(scorecard_figures(one_more_person(world), world.votes, JUDGE))
    absent = ("position_bias", "first_slot_share", "slot_p_value", "self_consistency")
    assert not {f"labeler/{name}" for name in absent} & figures.keys()


def test_people_who_gave_one_verdict_have_no_agreement_among_them() -> None:
    world = draw(0, num_raters=1)
    figures = named(scorecard_figures(one_more_person(world), world.votes, JUDGE))
    assert "people/agreement" not in figures
    assert "noise makes this read high" in figures["labeler/prefers_longer_at_equal_preference"].note


def test_ties_are_counted() -> None:
    world = draw(0)
    labels = [soft(c, 0.5 if number % 4 == 0 else 0.9) for number, c in enumerate(world.comparisons)]
    assert named(scorecard_figures(labels, world.votes, JUDGE))["labeler/tie_rate"].value == 0.25


def test_cost_per_label_against_the_paper() -> None:
    """830 tokens read and 61 written at 0.03 and 0.06 $ per 1,000, twice, are 0.057 $ a label (appendix L)."""
    world = draw(0)
    labels = [in_both_orders(c, 0.9, 0.2) for c in world.comparisons[:10]]
    figures = named(
        cost_figures(labels, LabelCost(seconds_per_label=0.4, usd_per_label=2 * (0.83 * 0.03 + 0.061 * 0.06)))
    )
    assert figures["cost/prompt_tokens_per_label"].value == 202.0
    assert figures["cost/reply_tokens_per_label"].value == 22.0
    assert figures["cost/seconds_per_1000_labels"].value == pytest.approx(400.0)
    assert figures["cost/usd_per_1000_labels"].value == pytest.approx(57.12)
    assert figures["cost/human_usd_per_1000_labels"].value == pytest.approx(670.0)


def test_nothing_that_was_not_measured_has_a_cost() -> None:
    world = draw(0)
    names = {figure.name for figure in cost_figures(one_more_person(world), LabelCost())}
    assert names == {"cost/human_usd_per_1000_labels"}


def test_confident_mistakes_come_surest_first() -> None:
    world = draw(0)
    votes = [(1.0,), (1.0,), (0.0,), (0.5,), ()]
    labels = [soft(c, p) for c, p in zip(world.comparisons, (0.4, 0.9, 0.95, 0.1, 0.1), strict=False)]
    assert [label.p_first for label in confident_mistakes(labels, votes, 5)] == [0.95, 0.4]


def test_the_verdict_names_the_labeler_the_people_and_their_agreement() -> None:
    world = draw(0)
    sentence = scorecard_verdict(scorecard_figures(one_more_person(world), world.votes, JUDGE), "planted", "dialogue")
    assert sentence.startswith("In dialogue planted agrees with planted people on ")
    assert "they agree with one another on" in sentence and f"{NUM_PAIRS} prompts" in sentence
