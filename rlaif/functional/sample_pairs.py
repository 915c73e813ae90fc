"""Pairs among the samples of a prompt, and which of the two is better.

Shapes: G prompts, K samples per prompt, T response tokens. Entry [g, i, j] is P(sample i is better than sample j); NaN
is a pair without a judgement.
"""

from __future__ import annotations

import torch
from torch import Tensor


def reward_preferences(rewards_GK: Tensor, mask_GK: Tensor, temperature: float = 1.0) -> Tensor:
    """σ((r_i - r_j) / temperature): the Bradley-Terry model that reward models are trained by.

    Args:
        rewards_GK: Rewards, anything where the mask is False.
        mask_GK: Rewards that exist.
        temperature: Above 0; the rewards' own unit divided by that of log-odds.

    Returns:
        [G, K, K] in [0, 1]; NaN where one of the two rewards is missing.

    >>> reward_preferences(torch.tensor([[0.0, 1.0]]), torch.tensor([[True, True]]))[0, 1, 0]
    tensor(0.7311)
    """
    rewards_GK = torch.where(mask_GK, rewards_GK.float(), torch.nan)
    return torch.sigmoid((rewards_GK[:, :, None] - rewards_GK[:, None, :]) / temperature)


def verdicts(p_GKK: Tensor) -> Tensor:
    """1 for the better sample, 0 for the worse, ½ for a tie; NaN stays.

    >>> verdicts(torch.tensor([0.9, 0.5, 0.2, torch.nan]))
    tensor([1.0000, 0.5000, 0.0000,    nan])
    """
    return torch.where(p_GKK == 0.5, 0.5, torch.where(p_GKK.isnan(), p_GKK, (p_GKK > 0.5).float()))


def same_responses(tokens_BT: Tensor, mask_BT: Tensor, samples_per_prompt: int) -> Tensor:
    """Pairs of samples with the same tokens, of which none can be better.

    Returns:
        [G, K, K] bool.

    >>> same_responses(torch.tensor([[5, 0], [5, 9]]), torch.tensor([[True, False], [True, False]]), 2)[0, 0, 1]
    tensor(True)
    """
    tokens_GKT = tokens_BT.masked_fill(~mask_BT, -1).view(-1, samples_per_prompt, tokens_BT.shape[1])
    return (tokens_GKT[:, :, None] == tokens_GKT[:, None, :]).all(-1)


def each_once(p_GKK: Tensor) -> Tensor:
    """Every pair once, at [i, j] with i < j; NaN elsewhere."""
    later_KK = torch.ones(p_GKK.shape[1:], dtype=torch.bool, device=p_GKK.device).triu(1)
    return p_GKK.masked_fill(~later_KK, torch.nan)


def best_and_worst(p_GKK: Tensor) -> Tensor:
    """The pair of the sample that wins most and the one that wins least; of equal ones the first.

    A sample's wins are the mean of its judged pairs. The pair itself may be without a judgement; a prompt whose samples
    all win alike has none.

    Args:
        p_GKK: Both entries of every judged pair.

    Returns:
        [G, K, K] with NaN everywhere else.
    """
    wins_GK = mean_wins(p_GKK)
    judged_GK = ~wins_GK.isnan()
    best_G = wins_GK.masked_fill(~judged_GK, -torch.inf).argmax(-1)
    worst_G = wins_GK.masked_fill(~judged_GK, torch.inf).argmin(-1)
    kept_GKK = torch.zeros_like(p_GKK, dtype=torch.bool)
    prompts_G = torch.arange(len(p_GKK), device=p_GKK.device)
    kept_GKK[prompts_G, torch.minimum(best_G, worst_G), torch.maximum(best_G, worst_G)] = True
    return each_once(p_GKK.masked_fill(~kept_GKK, torch.nan))


def mean_wins(p_GKK: Tensor) -> Tensor:
    """Mean probability [G, K] of each sample to be better than another of its prompt; NaN without a judged pair.

    >>> mean_wins(torch.tensor([[[torch.nan, 1.0, 0.5], [0.0, torch.nan, torch.nan], [0.5, torch.nan, torch.nan]]]))
    tensor([[0.7500, 0.0000, 0.5000]])
    """
    own_KK = torch.eye(p_GKK.shape[-1], dtype=torch.bool, device=p_GKK.device)
    judged_GKK = ~p_GKK.isnan() & ~own_KK
    return torch.where(judged_GKK, p_GKK, 0.0).sum(-1) / torch.where(judged_GKK, 1.0, 0.0).sum(-1)
