"""Losses of several updates on one rollout: ratios to the policy before the first of them, clipped.

Shapes: B responses, T response tokens. Masks are bool, True counts.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

LARGEST_LOG_RATIO = 80.0
"""Larger ones have no float32 exponential with a finite gradient."""


def token_log_ratio(logprobs_BT: Tensor, old_logprobs_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """log π - log π_old of each token; 0 outside the mask, whatever stands there.

    Args:
        logprobs_BT: log π of the sampled tokens, with gradient.
        old_logprobs_BT: The same before the first update on the rollout; its gradient is stopped here.
        mask_BT: Response tokens.

    >>> mask_BT = torch.tensor([[True, False]])
    >>> token_log_ratio(torch.tensor([[-1.0, torch.nan]]), torch.tensor([[-3.0, 0.0]]), mask_BT)
    tensor([[2., 0.]])
    """
    old_BT = torch.where(mask_BT, old_logprobs_BT.detach().float(), 0.0)
    return torch.where(mask_BT, logprobs_BT.float(), 0.0) - old_BT


def sequence_log_ratio(log_ratio_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """log s of each response, at each of its tokens: the mean of its tokens' log-ratios (GSPO, arXiv 2507.18071).

    Every token of a response gets the gradient of the same s, so a mean over its tokens is the loss of the response.

    Args:
        log_ratio_BT: From :func:`token_log_ratio`, with gradient.
        mask_BT: Response tokens.

    Returns:
        [B, T], 0 outside the mask.

    >>> sequence_log_ratio(torch.tensor([[1.0, 3.0, 9.0]]), torch.tensor([[True, True, False]]))
    tensor([[2., 2., 0.]])
    """
    length_B1 = mask_BT.sum(-1, keepdim=True).clamp(min=1)
    mean_B1 = torch.where(mask_BT, log_ratio_BT, 0.0).sum(-1, keepdim=True) / length_B1
    return torch.where(mask_BT, mean_B1, 0.0)


class Surrogate(NamedTuple):
    """A clipped surrogate at each token."""

    loss_BT: Tensor
    """To be weighted and minimized."""
    clipped_BT: Tensor
    """Bool: tokens whose ratio has left the clip range in the direction of its advantage; they have no gradient."""


def clipped_surrogate(log_ratio_BT: Tensor, advantages_BT: Tensor, *, low: float, high: float) -> Surrogate:
    """-min(ρ A, clip(ρ, 1 - low, 1 + high) A) (PPO, arXiv 1707.06347, eq. 7; with high > low DAPO's clip-higher).

    Args:
        log_ratio_BT: log ρ, with gradient.
        advantages_BT: Its gradient is stopped here.
        low: Largest fall of a ratio below 1 that is still learned from.
        high: Largest rise above 1.

    >>> clipped_surrogate(torch.tensor([[0.0, 1.0]]), torch.tensor([[2.0, 2.0]]), low=0.2, high=0.5)
    Surrogate(loss_BT=tensor([[-2., -3.]]), clipped_BT=tensor([[False,  True]]))
    """
    advantages_BT = advantages_BT.detach().float()
    ratio_BT = log_ratio_BT.clamp(max=LARGEST_LOG_RATIO).exp()
    inside_BT = ratio_BT.clamp(1.0 - low, 1.0 + high)
    loss_BT = -torch.minimum(ratio_BT * advantages_BT, inside_BT * advantages_BT)
    too_high_BT = (ratio_BT > 1.0 + high) & (advantages_BT > 0)
    too_low_BT = (ratio_BT < 1.0 - low) & (advantages_BT < 0)
    return Surrogate(loss_BT, too_high_BT | too_low_BT)


def clipped_value_loss(values_BT: Tensor, old_values_BT: Tensor, returns_BT: Tensor, clip: float | None) -> Tensor:
    """½ max((V - Z)², (V_old + clip(V - V_old, ±clip) - Z)²) of each token, as in PPO's published code.

    A value that has moved further than ``clip`` from where the rollout found it, towards its return, has no gradient.

    Args:
        values_BT: V of the state before each token, with gradient.
        old_values_BT: The same before the first update; its gradient is stopped here.
        returns_BT: Z_t; its gradient is stopped here.
        clip: In the reward's unit, above 0; None gives ½ (V - Z)².

    >>> values_BT, old_BT, returns_BT = torch.tensor([[3.0]]), torch.tensor([[1.0]]), torch.tensor([[4.0]])
    >>> clipped_value_loss(values_BT, old_BT, returns_BT, 0.5), clipped_value_loss(values_BT, old_BT, returns_BT, None)
    (tensor([[3.1250]]), tensor([[0.5000]]))
    """
    values_BT, returns_BT = values_BT.float(), returns_BT.detach().float()
    error_BT = (values_BT - returns_BT).square()
    if clip is not None:
        old_BT = old_values_BT.detach().float()
        near_BT = old_BT + (values_BT - old_BT).clamp(-clip, clip)
        error_BT = torch.maximum(error_BT, (near_BT - returns_BT).square())
    return 0.5 * error_BT


def truncated_importance_weights(
    logprobs_BT: Tensor, sampled_logprobs_BT: Tensor, mask_BT: Tensor, cap: float
) -> Tensor:
    """min(π_old / π_rollout, C) of each token, without gradient: corrects for a sampler that is not the learner.

    It multiplies the loss of a token. The ratio of a clipped surrogate stays π / π_old. Where sampler and learner agree
    the weight is 1 up to rounding.

    Args:
        logprobs_BT: log π_old: the learner's, before the first update on the rollout.
        sampled_logprobs_BT: log π_rollout, as the sampler recorded it.
        mask_BT: Response tokens.
        cap: C, at least 1.

    Returns:
        [B, T], 0 outside the mask.

    >>> mask_BT = torch.tensor([[True, True, False]])
    >>> truncated_importance_weights(torch.tensor([[-1.0, -1.0, 0.0]]), torch.tensor([[-1.0, -3.0, 0.0]]), mask_BT, 2.0)
    tensor([[1., 2., 0.]])
    """
    log_weight_BT = token_log_ratio(logprobs_BT.detach(), sampled_logprobs_BT, mask_BT)
    weight_BT = log_weight_BT.clamp(max=LARGEST_LOG_RATIO).exp().clamp(max=cap)
    return torch.where(mask_BT, weight_BT, 0.0)
