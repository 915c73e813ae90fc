"""Agreement beyond chance against sklearn, statsmodels, the published examples of irrCAC, and its coverage."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import cohen_kappa_score, recall_score
from statsmodels.stats.inter_rater import cohens_kappa, to_table

from rlaif.functional.chance import chance_corrected, detection
from rlaif.functional.statistics import Estimate

ABSTRACTORS = [[13, 0, 0], [0, 20, 7], [0, 4, 56]]
"""Two raters of 100 patients in three categories: Gwet 2014, the table ``cont3x3abstractors`` of R's irrCAC."""


def rows_of(table: list[list[int]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One row per count of a contingency table."""
    pairs = [(i, j) for i, row in enumerate(table) for j, count in enumerate(row) for _ in range(count)]
    a, b = np.array(pairs, dtype=np.float64).T
    return a, b


def half_width(estimate: Estimate) -> float:
    assert estimate.low is not None and estimate.high is not None
    return (estimate.high - estimate.low) / 2


def test_the_published_example() -> None:
    """irrCAC's documentation: kappa 0.7964094 (standard error 0.05891072), AC1 0.8493305 (0.04321747)."""
    kappa, ac1 = chance_corrected(*rows_of(ABSTRACTORS))
    assert kappa.value == pytest.approx(0.7964094, abs=5e-8)
    assert ac1.value == pytest.approx(0.8493305, abs=5e-8)
    # Wilson's interval is a little shorter than twice the standard error where agreement is high.
    assert half_width(kappa) == pytest.approx(stats.norm.ppf(0.975) * 0.05891072, rel=0.03)
    assert half_width(ac1) == pytest.approx(stats.norm.ppf(0.975) * 0.04321747, rel=0.03)
    assert kappa.n == ac1.n == 100


@pytest.mark.parametrize("num_categories", [2, 3, 5])
def test_kappa_is_that_of_sklearn_and_its_error_that_of_statsmodels(num_categories: int) -> None:
    rng = np.random.default_rng(num_categories)
    a = rng.integers(0, num_categories, 4000)
    b = np.where(rng.random(4000) < 0.6, a, rng.integers(0, num_categories, 4000) // 2)
    kappa = chance_corrected(a, b).kappa
    assert kappa.value == pytest.approx(cohen_kappa_score(a, b))
    table, _ = to_table(np.column_stack([a, b]))
    assert half_width(kappa) == pytest.approx(stats.norm.ppf(0.975) * cohens_kappa(table).std_kappa, rel=5e-3)


def test_ac1_of_two_categories_by_hand() -> None:
    """Gwet 2008: with q the mean share of yes, chance is 2 q (1 - q). 90 yes-yes, 5 yes-no, 5 no-yes: q = 0.95."""
    kappa, ac1 = chance_corrected(*rows_of([[90, 5], [5, 0]]))
    assert ac1.value == pytest.approx((0.9 - 2 * 0.95 * 0.05) / (1 - 2 * 0.95 * 0.05))
    assert kappa.value is not None and kappa.value < 0, "the paradox that AC1 was made for"


def test_order_of_sides_and_names_of_categories_do_not_matter() -> None:
    a, b = rows_of(ABSTRACTORS)
    assert chance_corrected(b, a) == chance_corrected(a, b)
    renamed = chance_corrected(np.choose(a.astype(int), [7, -1, 0]), np.choose(b.astype(int), [7, -1, 0]))
    for one, other in zip(renamed, chance_corrected(a, b), strict=True):
        assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high))


def test_one_category_has_no_coefficient_rather_than_0() -> None:
    for rows in ([], [1.0, 1.0, 1.0]):
        for estimate in chance_corrected(rows, rows):
            assert (estimate.value, estimate.low, estimate.high) == (None, None, None)
    constant_against_mixed = chance_corrected([1, 1, 1, 1], [1, 1, 0, 0])
    assert constant_against_mixed.kappa.value == 0.0


def test_full_agreement_still_has_an_interval() -> None:
    """With both categories half of ten rows, kappa's low end is Wilson's for 10 of 10 (0.7225), mapped from chance."""
    full = chance_corrected([0.0, 1.0] * 5, [0.0, 1.0] * 5)
    assert (full.kappa.value, full.kappa.high) == (1.0, 1.0)
    assert full.kappa.low == pytest.approx((0.72246 - 0.5) / 0.5, abs=1e-4)
    none = chance_corrected([0.0, 1.0] * 5, [1.0, 0.0] * 5)
    assert none.kappa.value == -1.0 and none.kappa.high == pytest.approx(-0.445, abs=1e-3)


def test_copies_of_a_row_in_its_cluster_add_no_information() -> None:
    a, b = rows_of(ABSTRACTORS)
    once = chance_corrected(a, b)
    copied = chance_corrected(np.repeat(a, 4), np.repeat(b, 4), np.repeat(np.arange(100), 4))
    for one, four in zip(once, copied, strict=True):
        assert four.value == pytest.approx(one.value) and four.n == one.n == 100
        assert half_width(four) == pytest.approx(half_width(one), rel=0.02)
    assert half_width(chance_corrected(np.repeat(a, 4), np.repeat(b, 4)).kappa) < 0.6 * half_width(once.kappa)


@pytest.mark.slow
@pytest.mark.parametrize(("agrees", "shares"), [(0.3, (0.5, 0.4, 0.1)), (0.7, (0.9, 0.08, 0.02))])
def test_coverage_of_the_intervals(agrees: float, shares: tuple[float, ...]) -> None:
    """Both sides copy one draw with a known chance, else draw anew: kappa is that chance; 2 rows of 150 prompts."""
    rng = np.random.default_rng(0)
    q = np.array(shares)
    by_chance = q @ q
    truth = (agrees, 1.0 - (1.0 - agrees) * (1.0 - by_chance) / (1.0 - q @ (1.0 - q) / (q.size - 1)))
    hits = np.zeros(2)
    for _ in range(400):
        of_prompt = rng.choice(q.size, 150, p=q).repeat(2)
        first = np.where(rng.random(300) < 0.3, of_prompt, rng.choice(q.size, 300, p=q))
        second = np.where(rng.random(300) < agrees, first, rng.choice(q.size, 300, p=q))
        found = chance_corrected(first, second, np.arange(150).repeat(2))
        for place, (estimate, value) in enumerate(zip(found, truth, strict=True)):
            assert estimate.low is not None and estimate.high is not None
            hits[place] += estimate.low <= value <= estimate.high
    # Three standard deviations of the share of hits below 95 %.
    assert (hits / 400 > 0.95 - 3 * (0.95 * 0.05 / 400) ** 0.5).all(), hits


def test_sensitivity_and_specificity_are_recalls_of_both_classes() -> None:
    rng = np.random.default_rng(1)
    positive = (rng.random(300) < 0.2).astype(float)
    flagged = np.where(rng.random(300) < 0.8, positive, 1 - positive)
    found = detection(flagged, positive, np.arange(300) // 2)
    assert found.sensitivity.value == pytest.approx(recall_score(positive, flagged))
    assert found.specificity.value == pytest.approx(recall_score(positive, flagged, pos_label=0.0))
    assert found.sensitivity.n == np.unique(np.flatnonzero(positive) // 2).size


def test_sensitivity_needs_a_positive_row() -> None:
    found = detection([0.0, 1.0], [0.0, 0.0])
    assert found.sensitivity.value is None and found.specificity.value == 0.5
    assert detection([0.5], [1.0]).sensitivity.value == 0.5, "an undecided label counts one half"
