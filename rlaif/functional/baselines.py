"""Baselines of returns, and how much of the returns they explain.

Shapes: B responses, T response tokens. Masks are bool, True counts.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class OthersMean(NamedTuple):
    """The mean return of a step's other responses, for each response."""

    mean_B: Tensor
    """0 where ``exists_B`` is False."""
    exists_B: Tensor
    """Bool: responses that have others to be compared with."""


def mean_of_others(returns_BT: Tensor, mask_BT: Tensor) -> OthersMean:
    """Mean return over the tokens of all other responses.

    The response itself is left out, as in :func:`~rlaif.functional.policy_gradient.leave_one_out_advantages`: a
    baseline that holds its own return would shrink the expected gradient.

    Args:
        returns_BT: Z_t, anything where masked.
        mask_BT: Tokens of responses that have a reward.

    >>> mean_of_others(torch.tensor([[1.0, 3.0], [8.0, 0.0]]), torch.tensor([[True, True], [True, False]])).mean_B
    tensor([8., 2.])
    """
    sums_B = torch.where(mask_BT, returns_BT, 0.0).sum(-1)
    counts_B = mask_BT.sum(-1)
    others_B = counts_B.sum() - counts_B
    exists_B = (others_B > 0) & (counts_B > 0)
    mean_B = (sums_B.sum() - sums_B) / others_B.clamp(min=1)
    return OthersMean(torch.where(exists_B, mean_B, 0.0), exists_B)


def masked_moments(values_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and (population) variance of the masked entries; both 0 where nothing counts.

    >>> masked_moments(torch.tensor([[1.0, 3.0, 9.0]]), torch.tensor([[True, True, False]]))
    (tensor(2.), tensor(1.))
    """
    count = mask_BT.sum().clamp(min=1)
    mean = torch.where(mask_BT, values_BT, 0.0).sum() / count
    return mean, torch.where(mask_BT, values_BT - mean, 0.0).square().sum() / count


def explained_variance(values_BT: Tensor, returns_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Share of the returns' variance that the values explain: 1 - Var(Z - V) / Var(Z).

    1 is a perfect baseline, 0 one that is no better than a constant, and below 0 it is worse. 0 where the returns do
    not vary: there is nothing to explain.

    Args:
        values_BT: V of the state before each token.
        returns_BT: Z_t.
        mask_BT: Tokens that count.

    >>> explained_variance(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 2.0]]), torch.tensor([[True, True]]))
    tensor(0.7500)
    """
    _, total = masked_moments(returns_BT, mask_BT)
    _, left = masked_moments(returns_BT - values_BT, mask_BT)
    return torch.where(total > 0, 1.0 - left / total, 0.0)
