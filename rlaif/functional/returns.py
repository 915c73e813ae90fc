"""Advantages and returns from values: generalized advantage estimation.

Shapes: B responses, T response tokens. Masks are bool, True counts; padding is on the right.
"""

from __future__ import annotations

import torch
from torch import Tensor


def generalized_advantages(rewards_BT: Tensor, values_BT: Tensor, mask_BT: Tensor, trace: float) -> Tensor:
    """A_t = Σ_{l≥0} λ^l δ_{t+l} with δ_t = R_t + V(X_{t+1}) - V(X_t) (arXiv 1506.02438, equation 16, with γ = 1).

    The state after the last token has the value 0: the response has ended. With λ = 1 this is the return minus V(X_t),
    with λ = 0 the error of one step. ``A_t + V(X_t)`` is the λ-return that a value can be fitted to.

    Args:
        rewards_BT: Reward of each token, anything where masked.
        values_BT: V of the state before each token, anything where masked; no gradient flows to it.
        mask_BT: Response tokens, without a hole.
        trace: λ, in [0, 1].

    Returns:
        [B, T], 0 outside the mask.

    >>> mask_BT = torch.tensor([[True, True, False]])
    >>> generalized_advantages(torch.tensor([[0.0, 1.0, 9.0]]), torch.tensor([[0.5, 0.25, 9.0]]), mask_BT, trace=0.5)
    tensor([[0.1250, 0.7500, 0.0000]])
    """
    rewards_BT = torch.where(mask_BT, rewards_BT.detach().float(), 0.0)
    values_BT = torch.where(mask_BT, values_BT.detach().float(), 0.0)
    next_BT = torch.nn.functional.pad(values_BT[:, 1:], (0, 1))
    errors_BT = rewards_BT + next_BT - values_BT
    columns, later_B = [], torch.zeros_like(errors_BT[:, 0])
    for t in reversed(range(errors_BT.shape[1])):
        later_B = errors_BT[:, t] + trace * later_B
        columns.append(later_B)
    return torch.where(mask_BT, torch.stack(columns[::-1], dim=1), 0.0)
