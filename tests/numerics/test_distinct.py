"""Different texts of all prompts, and of one prompt's samples."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from rlaif.functional.distinct import distinct_rate, sample_diversity


def test_distinct_rate_by_hand_and_against_a_jackknife_loop() -> None:
    texts = ["a", "a", "b", "c", "c", "d", "e", "a", "f", "g"]
    clusters = [0, 0, 0, 1, 1, 2, 2, 3, 4, 5]
    without = []
    for out in range(6):
        kept = [text for text, cluster in zip(texts, clusters, strict=True) if cluster != out]
        without.append(len(set(kept)) / len(kept))
    jackknife = 5 / 6 * sum((x - np.mean(without)) ** 2 for x in without)
    estimate = distinct_rate(texts, clusters)
    assert estimate.value == 0.7 and estimate.n == 6
    # "a" occurs in two clusters, no text in three.
    variance = jackknife - 1 / 10**2
    variance = (6 * variance + 0.7 * 0.3 / 6) / 7
    size = 0.7 * 0.3 / variance * (stats.t.ppf(0.975, 9) / stats.t.ppf(0.975, 5)) ** 2
    assert (estimate.low, estimate.high) == pytest.approx(proportion_confint(0.7 * size, size, method="wilson"))


def test_distinct_rate_at_its_ends() -> None:
    all_different = distinct_rate([str(i) for i in range(50)])
    assert all_different.value == 1.0 and all_different.high == 1.0
    assert all_different.low is not None and all_different.low == pytest.approx(
        proportion_confint(50, 50, method="wilson")[0]
    )
    assert distinct_rate(["same"] * 50).value == 0.02
    assert distinct_rate([]).value is None


def test_diversity_is_the_share_of_different_pairs() -> None:
    rows = ["aabc", "aaaa", "abcd", "aabb"]
    expected = [np.mean([x != y for x, y in combinations(row, 2)]) for row in rows]
    estimate = sample_diversity([list(row) for row in rows])
    assert estimate.value == pytest.approx(np.mean(expected)) and estimate.n == 4


def test_a_greedy_policy_has_collapsed_although_all_its_answers_differ() -> None:
    samples = [[f"answer {prompt}"] * 4 for prompt in range(50)]
    assert distinct_rate([row[0] for row in samples]).value == 1.0
    estimate = sample_diversity(samples)
    assert estimate.value == 0.0 and estimate.high is not None and estimate.high < 0.1


@pytest.mark.parametrize("num_samples", [2, 4, 16])
def test_diversity_does_not_depend_on_the_number_of_samples(num_samples: int) -> None:
    """Texts with the chances 1/2, 1/4, 1/4: two of them differ with the chance 5/8."""
    rng = np.random.default_rng(num_samples)
    texts = rng.choice(3, size=(2000, num_samples), p=[0.5, 0.25, 0.25])
    estimate = sample_diversity(texts.tolist())
    assert estimate.low is not None and estimate.high is not None and estimate.low < 5 / 8 < estimate.high


def test_one_sample_says_nothing() -> None:
    with pytest.raises(ValueError, match="prompt 1 has 1 samples, two are needed"):
        sample_diversity([["a", "b"], ["a"]])
