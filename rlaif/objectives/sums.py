"""Losses at tokens as the sums that a module divides by the step's denominator.

Shapes: B responses, T response tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlaif.functional.losses import LossSum
from rlaif.functional.surrogates import truncated_importance_weights
from rlaif.rollouts.batch import Rollouts


def counted_tokens(rows: Rollouts) -> Tensor:
    """Tokens [B, T] of the responses that count."""
    assert rows.counted_mask_B is not None
    return rows.mask_BT & rows.counted_mask_B[:, None]


def loss_sum(loss_BT: Tensor, rows: Rollouts) -> LossSum:
    """Weighted sum of a loss at tokens, and the sum of the responses' shares in the denominator."""
    weighted_BT = loss_BT if rows.weights_BT is None else loss_BT * rows.weights_BT
    return LossSum(torch.where(counted_tokens(rows), weighted_BT, 0.0).sum(), rows.loss_shares.sum())


def token_mean(figure_BT: Tensor, rows: Rollouts) -> LossSum:
    """A logged figure over the tokens that count, each weighing the same, without gradient."""
    mask_BT = counted_tokens(rows)
    total = torch.where(mask_BT, figure_BT.detach().float(), 0.0).sum()
    return LossSum(total, mask_BT.sum().float())


def importance_weights(rows: Rollouts, cap: float | None) -> Tensor | None:
    """Truncated importance weights [B, T] of a sampler that is not the learner; None where none are used.

    Args:
        rows: With the learner's log-probs before the first update, and those of sampling where the sampler tells them.
        cap: Largest weight; None uses none.
    """
    if cap is None or rows.sampled_logprobs_BT is None:
        return None
    assert rows.logprobs_BT is not None
    return truncated_importance_weights(rows.logprobs_BT, rows.sampled_logprobs_BT, rows.mask_BT, cap)


def corrected_advantages(rows: Rollouts, cap: float | None) -> Tensor:
    """Advantages times importance weights: the same as a loss that is multiplied by them where the loss is linear."""
    assert rows.advantages_BT is not None
    weights_BT = importance_weights(rows, cap)
    return rows.advantages_BT if weights_BT is None else rows.advantages_BT * weights_BT
