"""DPO and IPO against closed forms and against the optima of their papers, on pairs of an enumerated policy."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from rlaif.errors import ConfigError
from rlaif.functional.seeds import generator
from rlaif.objectives.base import PairLabels, PairObjective, PairOutputs
from rlaif.objectives.dpo import Dpo
from rlaif.objectives.ipo import Ipo

FIRST = PairOutputs(torch.tensor([-3.0, -4.0]), torch.tensor([-5.0, -4.0]), torch.tensor([4, 2]))
SECOND = PairOutputs(torch.tensor([-6.0, -2.0]), torch.tensor([-5.0, -3.0]), torch.tensor([2, 5]))
PAIRS = PairLabels(torch.tensor([1.0, 0.25]), torch.tensor([1.0, 2.0]))
"""Log-ratios 2 and 0 of the first, -1 and 1 of the second responses."""


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


@pytest.mark.parametrize(
    ("length_normalized", "margins"), [(False, [3.0, -1.0]), (True, [2 / 4 + 1 / 2, 0 - 1 / 5])], ids=["summed", "mean"]
)
@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_losses_are_the_closed_forms(length_normalized: bool, margins: list[float], noise: float) -> None:
    labels = [(1 - noise) * p + noise * (1 - p) for p in (1.0, 0.25)]
    dpo = Dpo(beta=0.5, label_noise=noise, length_normalized=length_normalized).losses(FIRST, SECOND, PAIRS)
    by_hand = [
        -(p * log_sigmoid(0.5 * h) + (1 - p) * log_sigmoid(-0.5 * h)) for p, h in zip(labels, margins, strict=True)
    ]
    assert dpo.terms["loss"].total.item() == pytest.approx(by_hand[0] + 2 * by_hand[1], rel=1e-5)
    assert dpo.terms["loss"].count.item() == 3.0
    ipo = Ipo(tau=0.5, length_normalized=length_normalized).losses(FIRST, SECOND, PAIRS)
    squares = [p * (h - 1) ** 2 + (1 - p) * (h + 1) ** 2 for p, h in zip((1.0, 0.25), margins, strict=True)]
    assert ipo.terms["loss"].total.item() == pytest.approx(squares[0] + 2 * squares[1], rel=1e-5)


def test_measures_are_weighted_means_towards_the_label() -> None:
    measures = Dpo().losses(FIRST, SECOND, PAIRS).measures
    assert {name: part.mean.item() for name, part in measures.items()} == {
        "margin": pytest.approx((3.0 + 2 * (-0.5 * -1.0)) / 3),
        "better_log_ratio": pytest.approx((2.0 + 2 * 0.75) / 3),
        "worse_log_ratio": pytest.approx((-1.0 + 2 * 0.25) / 3),
    }


@pytest.mark.parametrize("objective", [Dpo(), Dpo(label_noise=0.1), Ipo(), Ipo(length_normalized=True)])
def test_a_tie_pulls_both_responses_together(objective: PairObjective) -> None:
    """p = ½ is not "the second wins": no gradient at equal log-ratios, and back there from elsewhere."""
    tie, counts = PairLabels(torch.tensor([0.5]), torch.ones(1)), torch.tensor([2])
    for margin in (0.0, 4.0):
        logprobs_B = torch.tensor([margin - 2.0], requires_grad=True)
        first = PairOutputs(logprobs_B, torch.tensor([-2.0]), counts)
        loss = objective.losses(first, PairOutputs(torch.tensor([-3.0]), torch.tensor([-3.0]), counts), tie).terms[
            "loss"
        ]
        (gradient_B,) = torch.autograd.grad(loss.mean, logprobs_B)
        assert gradient_B.item() == pytest.approx(0.0, abs=1e-6) if margin == 0.0 else gradient_B.item() > 0


def trained(objective: PairObjective, p_first: Tensor, ref: Tensor) -> Tensor:
    """Log-probs of four responses after training on all pairs of them."""
    theta = ref.clone().requires_grad_()
    rows, columns = torch.triu_indices(4, 4, offset=1)
    optimizer = torch.optim.LBFGS([theta], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        log_p, log_ref = theta.log_softmax(-1), ref.log_softmax(-1)
        first, second = (PairOutputs(log_p[side], log_ref[side]) for side in (rows, columns))
        loss = objective.losses(first, second, PairLabels(p_first[rows, columns], torch.ones(6))).terms["loss"].mean
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return theta.detach().log_softmax(-1)


def test_dpo_reaches_the_policy_of_the_reward_behind_the_labels() -> None:
    """Labels σ(r_i - r_j) give π ∝ π_SFT exp(r/β): the optimum of E[r] - β KL (arXiv 2305.18290, equation 4)."""
    reward, ref = (torch.randn(4, generator=generator(name)) for name in ("reward", "reference"))
    p_first = torch.sigmoid(reward[:, None] - reward[None, :])
    reached = trained(Dpo(beta=0.5), p_first, ref)
    torch.testing.assert_close(reached, (ref + reward / 0.5).log_softmax(-1), rtol=1e-2, atol=1e-2)


def test_ipo_reaches_the_policy_of_the_mean_win_rate() -> None:
    """Labels ½ + (w_i - w_j)/2 give margins (w_i - w_j)/2τ, so π ∝ π_SFT exp(w/2τ)."""
    wins, ref = torch.rand(4, generator=generator("wins")), torch.randn(4, generator=generator("reference"))
    p_first = 0.5 + (wins[:, None] - wins[None, :]) / 2
    reached = trained(Ipo(tau=0.2), p_first, ref)
    torch.testing.assert_close(reached, (ref + wins / 0.4).log_softmax(-1), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("make", "options", "told"),
    [
        (
            Dpo,
            {"beta": 0.0, "label_noise": 0.5},
            ["policy.pair_objective.beta=0.0", "policy.pair_objective.label_noise=0.5"],
        ),
        (Dpo, {"beta": math.nan}, ["policy.pair_objective.beta=nan: must be a finite number above 0"]),
        (Ipo, {"tau": -1.0}, ["policy.pair_objective.tau=-1.0: must be a finite number above 0"]),
    ],
)
def test_wrong_options_are_told_together(make: Any, options: dict[str, float], told: list[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        make(**options)
    for words in told:
        assert words in str(refused.value)
