"""Comparing ratings, reading rankings and pooling judges, against enumeration and sampled outcomes."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch
from scipy.optimize import minimize

from rlaif.functional.labels import pairs_from_rankings, probability_greater
from rlaif.functional.pooling import linear_pool, log_odds_pool, log_odds_weights

NAN = math.nan


def distributions(rows: int, steps: int, seed: int) -> torch.Tensor:
    return torch.softmax(torch.randn(rows, steps, generator=torch.Generator().manual_seed(seed)).double() * 2, -1)


def test_probability_greater_equals_the_enumeration_of_both_scores() -> None:
    a, b = distributions(7, 10, 0), distributions(7, 10, 1)
    for row, p in enumerate(probability_greater(a, b).tolist()):
        outcomes = [(i, j, float(a[row, i] * b[row, j])) for i in range(10) for j in range(10)]
        expected = sum(mass * (1.0 if i > j else 0.5 if i == j else 0.0) for i, j, mass in outcomes)
        assert p == pytest.approx(expected, abs=1e-12)


def test_probability_greater_inverts_when_swapped_and_keeps_missing() -> None:
    a, b = distributions(5, 10, 2), distributions(5, 10, 3)
    assert torch.allclose(probability_greater(a, b) + probability_greater(b, a), torch.ones(5).double(), atol=1e-12)
    a[0] = NAN
    assert probability_greater(a, b).isnan().tolist() == [True, False, False, False, False]


def test_a_certain_higher_score_wins_for_sure() -> None:
    low, high = torch.eye(10).double()[[2]], torch.eye(10).double()[[7]]
    assert probability_greater(high, low).tolist() == [1.0]
    assert probability_greater(low, low).tolist() == [0.5]


@pytest.mark.parametrize("k", [2, 3, 4])
def test_pairs_from_rankings_count_the_rankings_in_which_one_stands_above(k: int) -> None:
    rankings = list(permutations(range(k)))
    probs = distributions(3, len(rankings), k)
    above = pairs_from_rankings(probs, rankings)
    for i in range(k):
        for j in range(k):
            ahead = [r for r, ranking in enumerate(rankings) if i == j or ranking.index(i) < ranking.index(j)]
            expected = probs[:, ahead].sum(-1) * (0.5 if i == j else 1.0)
            assert torch.allclose(above[:, i, j], expected, atol=1e-12)


def test_linear_pool_is_the_mean_of_those_who_judged() -> None:
    p = torch.tensor([[0.9, NAN, NAN], [0.5, 0.4, NAN]])
    pooled = linear_pool(p, torch.tensor([1.0, 1.0]))
    assert pooled[:2].tolist() == pytest.approx([0.7, 0.4])
    assert pooled[2].isnan()


def test_log_odds_pool_is_bayes_rule_for_independent_judges() -> None:
    """Judges that are right with 0.8 and 0.6, from even odds: 0.8·0.6 / (0.8·0.6 + 0.2·0.4)."""
    pooled = log_odds_pool(torch.tensor([[0.8], [0.6]]).double(), torch.ones(2).double())
    assert pooled.item() == pytest.approx(0.48 / 0.56)
    missing = log_odds_pool(torch.tensor([[0.8, NAN], [NAN, NAN]]).double(), torch.ones(2).double())
    assert missing[0].item() == pytest.approx(0.8)
    assert missing[1].isnan()


def test_learned_weights_minimise_the_penalised_log_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(400, generator=generator) < 0.5
    good = torch.where(torch.rand(400, generator=generator) < 0.85, truth, ~truth)
    noise = torch.rand(400, generator=generator) < 0.5
    p = torch.stack([0.2 + 0.6 * good, 0.2 + 0.6 * noise]).double()
    chosen = truth.double()
    weights = log_odds_weights(p, chosen)

    features = torch.logit(p)

    def loss(w: list[float]) -> float:
        logit = (torch.tensor(w).double()[:, None] * features).sum(0)
        fit = torch.nn.functional.binary_cross_entropy_with_logits(logit, chosen, reduction="sum")
        return float(fit) + 0.5 * sum(x * x for x in w)

    expected = minimize(loss, [0.0, 0.0]).x
    assert weights.tolist() == pytest.approx(expected.tolist(), abs=1e-3)
    assert weights[0] > 1.0 > abs(weights[1]) * 4


def test_a_shared_verdict_teaches_half_of_each_choice() -> None:
    p = torch.tensor([[0.9, 0.9, 0.1, 0.1]]).double()
    assert log_odds_weights(p, torch.full((4,), 0.5).double()).item() == pytest.approx(0.0, abs=1e-6)
