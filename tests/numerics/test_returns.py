"""Generalized advantages against their definition as a double sum, and against closed forms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rlaif.functional.policy_gradient import rewards_to_go
from rlaif.functional.returns import generalized_advantages
from rlaif.functional.seeds import generator

LENGTHS = (6, 3, 1, 0)
MASK_BT = torch.arange(6) < torch.tensor(LENGTHS)[:, None]


def draw(name: str) -> Tensor:
    return torch.randn(4, 6, generator=generator(name)).masked_fill(~MASK_BT, torch.nan)


def by_definition(rewards: list[float], values: list[float], trace: float) -> list[float]:
    """A_t = (1 - λ) Σ_{n≥1} λ^{n-1} A_t^(n) with A_t^(n) = R_t + … + R_{t+n-1} + V_{t+n} - V_t: n-step advantages."""
    num = len(rewards)
    advantages = []
    for t in range(num):
        steps = [
            sum(rewards[t : t + n]) + (values[t + n] if t + n < num else 0.0) - values[t] for n in range(1, num - t + 1)
        ]
        inner = sum((1 - trace) * trace ** (n - 1) * step for n, step in enumerate(steps[:-1], start=1))
        # All longer ones end with the response: their weights λ^{N-1} (1 - λ) (1 + λ + …) add up to λ^{N-1}.
        advantages.append(inner + trace ** (len(steps) - 1) * steps[-1])
    return advantages


@pytest.mark.parametrize("trace", [0.0, 0.3, 0.95, 1.0])
def test_advantages_are_the_mixture_of_n_step_advantages(trace: float) -> None:
    rewards_BT, values_BT = draw("rewards"), draw("values")
    advantages_BT = generalized_advantages(rewards_BT, values_BT, MASK_BT, trace)
    for row, length in enumerate(LENGTHS):
        expected = by_definition(rewards_BT[row, :length].tolist(), values_BT[row, :length].tolist(), trace)
        assert advantages_BT[row, :length].tolist() == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert advantages_BT[~MASK_BT].tolist() == [0.0] * int((~MASK_BT).sum())


def test_a_full_trace_gives_the_return_minus_the_value() -> None:
    rewards_BT, values_BT = draw("rewards").nan_to_num(0.0), draw("values").nan_to_num(0.0)
    advantages_BT = generalized_advantages(rewards_BT, values_BT, MASK_BT, trace=1.0)
    torch.testing.assert_close(advantages_BT + values_BT, rewards_to_go(rewards_BT))


def test_a_terminal_reward_decays_with_the_trace() -> None:
    """With V = 0 and the reward at the last token, A_t = λ^(T - 1 - t) R."""
    mask_BT = torch.ones(1, 4, dtype=torch.bool)
    advantages_BT = generalized_advantages(torch.tensor([[0.0, 0.0, 0.0, 8.0]]), torch.zeros(1, 4), mask_BT, 0.5)
    assert advantages_BT.tolist() == [[1.0, 2.0, 4.0, 8.0]]


def test_a_value_that_is_right_leaves_no_advantage() -> None:
    rewards_BT = torch.tensor([[1.0, -2.0, 4.0]])
    mask_BT = torch.ones(1, 3, dtype=torch.bool)
    advantages_BT = generalized_advantages(rewards_BT, rewards_to_go(rewards_BT), mask_BT, trace=0.7)
    assert advantages_BT.abs().max() == 0.0
