"""Losses of a policy on labeled pairs of responses.

Shapes: B pairs. The margin h is log π(first)/π_ref(first) - log π(second)/π_ref(second), in nats.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlaif.functional.losses import LossSum


def conservative_labels(p_first_B: Tensor, noise: float) -> Tensor:
    """p → (1 - ε) p + ε (1 - p): the label when a share ε of the labels is flipped (cDPO, Mitchell 2023).

    Args:
        p_first_B: Probability that the first response is better.
        noise: ε, at least 0 and below ½.

    >>> conservative_labels(torch.tensor([1.0, 0.5, 0.0]), 0.1)
    tensor([0.9000, 0.5000, 0.1000])
    """
    return (1.0 - noise) * p_first_B + noise * (1.0 - p_first_B)


def identity_preference_loss(
    margin_B: Tensor, p_first_B: Tensor, tau: float, weight_B: Tensor | None = None
) -> LossSum:
    """p (h - 1/2τ)² + (1 - p) (h + 1/2τ)² (IPO, arXiv 2310.12036, equation 17 in expectation over the label).

    The minimum of a pair is at h = (2p - 1)/2τ, where the loss is p (1 - p)/τ².

    Args:
        margin_B: h, summed over the tokens of each response, with gradient.
        p_first_B: Probability that the first response is better.
        tau: Strength of the regularization towards the reference, above 0.
        weight_B: Weight of each pair; 1 when None.

    Returns:
        Weighted sum in nats², and the sum of the weights.

    >>> identity_preference_loss(torch.tensor([5.0]), torch.tensor([1.0]), tau=0.1).mean
    tensor(0.)
    """
    margin_B, p_first_B = margin_B.float(), p_first_B.float()
    weight_B = torch.ones_like(margin_B) if weight_B is None else weight_B.float()
    half = 0.5 / tau
    loss_B = p_first_B * (margin_B - half).square() + (1.0 - p_first_B) * (margin_B + half).square()
    return LossSum((weight_B * loss_B).sum(), weight_B.sum())
