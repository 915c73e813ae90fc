"""The bandit of arXiv 2402.12366 (section on mechanism; figure 5 of the NeurIPS version, 6 of the preprint).

Actions 0 … A−1 are sorted by quality, and an action's true reward is its number. There is no prompt. A policy is a
distribution over the actions. Shapes: A actions, B bandits that are fitted together.
"""

from __future__ import annotations

import torch
from torch import Tensor


def normal_policy(center: float, variance: float, num_actions: int = 100) -> Tensor:
    """The policy p(a) ∝ exp(−(a − center)² / 2·variance).

    Args:
        center: Action of the mode; it may lie outside of the actions.
        variance: In squared actions, above 0.
        num_actions: A.

    Returns:
        [A], float64.

    >>> normal_policy(1.0, 0.5, num_actions=3).round(decimals=3)
    tensor([0.2120, 0.5760, 0.2120], dtype=torch.float64)
    """
    actions_A = torch.arange(num_actions, dtype=torch.float64)
    return torch.softmax(-((actions_A - center) ** 2) / (2.0 * variance), -1)


def expected_pairs(policy_BA: Tensor) -> Tensor:
    """Probability that two independent draws are (worse, better), labeled by their true rewards.

    Args:
        policy_BA: One or several policies.

    Returns:
        [..., A, A], its rows the worse action. It sums to the probability that the two draws differ: a pair of equal
        actions has no gradient.

    >>> expected_pairs(torch.tensor([0.5, 0.5]))
    tensor([[0.0000, 0.5000],
            [0.0000, 0.0000]])
    """
    return 2.0 * (policy_BA[..., :, None] * policy_BA[..., None, :]).triu(1)


def drawn_pairs(policy_A: Tensor, num_pairs: int, generator: torch.Generator) -> Tensor:
    """Shares of (worse, better) among pairs of draws; as :func:`expected_pairs`, which it estimates.

    Args:
        policy_A: One policy.
        num_pairs: Pairs that are drawn.
        generator: Draws them.

    Returns:
        [A, A], float64.
    """
    num_actions = len(policy_A)
    draws_P2 = torch.multinomial(policy_A, 2 * num_pairs, replacement=True, generator=generator).view(num_pairs, 2)
    worse_P, better_P = draws_P2.amin(1), draws_P2.amax(1)
    counts = torch.bincount(worse_P * num_actions + better_P, minlength=num_actions**2)
    return (counts.double() / num_pairs).view(num_actions, num_actions).triu(1)


def fit_rewards(pairs_BAA: Tensor, *, steps: int, lr: float) -> Tensor:
    """A table of rewards, fitted by gradient descent on −Σ pairs · log σ(r_better − r_worse), from 0.

    Args:
        pairs_BAA: Weights of (worse, better), of :func:`expected_pairs`.
        steps: Steps of gradient descent on all pairs.
        lr: Learning rate.

    Returns:
        [..., A]. An action that is in no pair keeps 0.
    """
    rewards_BA = pairs_BAA.new_zeros(pairs_BAA.shape[:-1])
    for _ in range(steps):
        misses_BAA = pairs_BAA * torch.sigmoid(rewards_BA[..., :, None] - rewards_BA[..., None, :])
        rewards_BA = rewards_BA + lr * (misses_BAA.sum(-2) - misses_BAA.sum(-1))
    return rewards_BA


def fit_softmax(target_A: Tensor, *, steps: int, lr: float) -> Tensor:
    """A softmax table of logits, fitted by gradient descent on the cross-entropy to a distribution, from uniform.

    Args:
        target_A: The distribution, or shares of draws from it.
        steps: Steps of gradient descent.
        lr: Learning rate.

    Returns:
        [A], the fitted policy; with enough steps it is the target.
    """
    logits_A = torch.zeros_like(target_A)
    for _ in range(steps):
        logits_A = logits_A + lr * (target_A - torch.softmax(logits_A, -1))
    return torch.softmax(logits_A, -1)


def kl_regularized_policy(policy_BA: Tensor, rewards_BA: Tensor, beta: float) -> Tensor:
    """The policy that maximizes E[r] − β KL(π ‖ policy): π ∝ policy · exp(r / β), in closed form.

    Args:
        policy_BA: Where reinforcement learning starts.
        rewards_BA: Of each action.
        beta: Weight of the KL, above 0.

    >>> kl_regularized_policy(torch.tensor([0.5, 0.5]), torch.tensor([0.0, 1.0]), beta=1.0)
    tensor([0.2689, 0.7311])
    """
    return torch.softmax(policy_BA.log() + rewards_BA / beta, -1)
