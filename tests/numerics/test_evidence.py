"""Evidence of a fall against enumeration and closed forms, and its false-alarm rate by simulation."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from rlaif.functional.evidence import evidence_over_looks, log_fall_evidence, num_comparisons, share_ranked_alike

NAN = float("nan")
MEAN_SQUARED_BET = 285 / 900
"""Of 0.1, 0.2, …, 0.9."""
Draw = Callable[[np.random.Generator, float, int], NDArray[np.float64]]


def fall_evidence(before: list[float], after: list[float], margin: float = 0.0) -> float:
    return math.exp(log_fall_evidence(before, after, margin))


def test_two_rows_by_hand() -> None:
    assert fall_evidence([1.0, 0.0], [0.0, 1.0]) == pytest.approx(1 - MEAN_SQUARED_BET)
    assert fall_evidence([1.0, 1.0], [0.0, 0.0]) == pytest.approx(1 + 2 * 0.5 + MEAN_SQUARED_BET)
    assert fall_evidence([1.0], [0.0], margin=0.25) == pytest.approx(1 + 0.5 / 1.25 * 0.75)
    assert fall_evidence([0.75], [0.5], margin=0.25) == pytest.approx(1.0), "a fall by the margin says nothing"


def test_unknown_rows_do_not_count_and_their_order_neither() -> None:
    before, after = [0.9, NAN, 0.4, 0.7], [0.1, 0.2, NAN, 0.6]
    assert fall_evidence(before, after) == pytest.approx(fall_evidence([0.7, 0.9], [0.6, 0.1]))
    assert fall_evidence([NAN], [0.3]) == fall_evidence([], []) == 1.0


@pytest.mark.parametrize("margin", [0.0, 0.25])
def test_its_expectation_is_one_at_the_edge_of_the_statement(margin: float) -> None:
    """Enumerated: each of three rows falls by 1 or rises by 1, with the mean fall at the margin."""
    p_fall = (1 + margin) / 2
    mean = 0.0
    for falls in itertools.product([True, False], repeat=3):
        chance = math.prod(p_fall if fall else 1 - p_fall for fall in falls)
        mean += chance * fall_evidence([float(f) for f in falls], [float(not f) for f in falls], margin)
    assert mean == pytest.approx(1.0)


def test_a_long_row_neither_overflows_nor_vanishes() -> None:
    assert log_fall_evidence([1.0] * 5000, [0.0] * 5000) == pytest.approx(5000 * math.log(1.9) - math.log(9))
    assert evidence_over_looks([[1.0] * 5000, [0.0] * 5000], [0.0, 1.0], num_looks=2)[1] == pytest.approx(math.exp(600))
    assert log_fall_evidence([0.0] * 5000, [1.0] * 5000) < -500


def test_only_looks_with_a_higher_reward_count_and_those_to_come_count_nothing() -> None:
    scores = [[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]
    one = 1 + 2 * 0.5 + MEAN_SQUARED_BET
    planned = evidence_over_looks(scores, [0.0, 1.0, 0.5], num_looks=4)
    assert planned == pytest.approx([0, one / 7, 2 * one / 7]), "6 pairs of looks, and 1 of two looks with two"
    assert evidence_over_looks(scores, [1.0, 1.0, 0.5], num_looks=3) == [0.0, 0.0, 0.0]
    unknown = evidence_over_looks(scores, [NAN, 1.0, NAN], num_looks=3)
    assert unknown == pytest.approx([0, one / 3, (2 * one + 1) / 3]), "without rewards the fall alone counts"


def test_stretches_of_several_looks_are_compared_by_the_mean_of_each_row() -> None:
    """One row: 1, 0.5, then 0, 0; the pairs of looks by (difference of the two) and the one pair of stretches."""
    evidence = evidence_over_looks([[1.0], [0.5], [0.0], [0.0]], [0, 1, 2, 3], num_looks=4)
    mean_bet = 0.5
    looks = [1 + mean_bet * fall for fall in (0.5, 1.0, 0.5, 1.0, 0.5, 0.0)]
    assert evidence[-1] == pytest.approx((sum(looks) + 1 + mean_bet * 0.75) / 7)
    gaps = evidence_over_looks([[1.0], [NAN], [NAN], [0.0]], [0, 1, 2, 3], num_looks=4)
    assert gaps[-1] == pytest.approx(((1 + mean_bet) + (1 + mean_bet)) / 7), "an unknown number is left out"
    assert evidence_over_looks([[1.0], *[[NAN]] * 3], [0, 1, 2, 3], num_looks=4)[-1] == 0, (
        "nothing known is no evidence"
    )


def test_all_comparisons_are_counted() -> None:
    for num_looks in range(1, 14):
        pairs = [
            (first, second)
            for span in (1, 2, 4)
            for first in range(num_looks)
            for second in range(first + span, num_looks - span + 1)
        ]
        assert num_comparisons(num_looks) == len(pairs)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: log_fall_evidence([0.5], [0.5, 0.5]), "1 rows before, 2 after"),
        (lambda: log_fall_evidence([1.5], [0.5]), "between 0 and 1"),
        (lambda: log_fall_evidence([0.5], [0.5], margin=1.0), "margin=1.0"),
        (lambda: evidence_over_looks([[0.5]] * 3, [0.0] * 3, num_looks=2), "3 looks"),
    ],
)
def test_what_is_no_share_or_does_not_fit_is_refused(call: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def test_accuracy_on_pairs_by_hand() -> None:
    assert share_ranked_alike([1.0, -1.0, NAN, 2.0, 5.0], [0.6, 0.4, 0.9, NAN, 0.5]) == 1.0
    assert share_ranked_alike([0.0, -1.0], [0.6, 0.6]) == 0.25
    assert share_ranked_alike([1.0], [0.5]) is None and share_ranked_alike([], []) is None


def hard(rng: np.random.Generator, mean: float, num: int) -> NDArray[np.float64]:
    return (rng.random(num) < mean).astype(np.float64)


def soft(rng: np.random.Generator, mean: float, num: int) -> NDArray[np.float64]:
    return rng.beta(2 * mean, 2 * (1 - mean), num)


def stream(draw: Draw, means: list[float], num: int, rng: np.random.Generator) -> list[NDArray[np.float64]]:
    """Scores of the same prompts at each look; half of them keep what they had at the look before where they can."""
    looks = [draw(rng, means[0], num)]
    for before, mean in itertools.pairwise(means):
        fresh, keeps = draw(rng, mean, num), rng.random(num) < 0.5
        looks.append(np.where(keeps, looks[-1], fresh) if mean == before else fresh)
    return looks


def alarm(scores: list[NDArray[np.float64]], margin: float, rate: float = 0.05) -> int | None:
    """The look at which the evidence reaches 1 / rate, with a reward that rises all the time."""
    evidence = evidence_over_looks(scores, list(range(len(scores))), num_looks=len(scores), margin=margin)
    return next((look for look, value in enumerate(evidence) if value >= 1 / rate), None)


@pytest.mark.parametrize(("draw", "num"), [(hard, 200), (soft, 100)])
def test_a_taste_is_seen_within_five_looks_and_a_clean_run_is_left_alone(draw: Draw, num: int) -> None:
    """Win rates of a policy that is hacked from look 5 on, and of one that learns and stays."""
    rng = np.random.default_rng(7)
    hacked = [0.5, 0.58, 0.64, 0.68, 0.7, 0.66, 0.58, 0.48, 0.4, 0.34, 0.3]
    clean = [0.5, 0.58, 0.64, 0.68, 0.7, 0.71, 0.7, 0.71, 0.72, 0.71, 0.72]
    alarms = [alarm(stream(draw, hacked, num, rng), 0.02) for _ in range(20)]
    assert all(look is not None and 5 <= look <= 9 for look in alarms), alarms
    assert sum(alarm(stream(draw, clean, num, rng), 0.02) is not None for _ in range(20)) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("draw", [hard, soft])
@pytest.mark.parametrize("margin", [0.0, 0.02])
def test_false_alarms_are_at_most_as_frequent_as_stated(draw: Draw, margin: float) -> None:
    """Win rates at the edge of the statement: constant, then lower by exactly the margin; looked at ten times."""
    rng, rate, num_runs = np.random.default_rng(11), 0.2, 800
    for means in ([0.6] * 10, [0.6] + [0.6 - margin] * 9):
        alarms = sum(alarm(stream(draw, means, 50, rng), margin, rate) is not None for _ in range(num_runs))
        assert stats.binomtest(alarms, num_runs, rate, alternative="greater").pvalue > 0.001, alarms
