"""Length taken out of a reward: two heads, of which one learns what length explains (ODIN, arXiv 2402.07319).

Shapes: N responses, D hidden width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

CONSTANT = 1e-6
"""Spread, relative to the largest value, below which values count as equal."""


class LengthTerms(NamedTuple):
    """How far both heads follow length, scalars in [0, 1]."""

    quality: Tensor
    """|correlation| of the quality head with length, which is to fall."""
    length: Tensor
    """|correlation| of the length head with length, which is to rise."""


def correlation(x_N: Tensor, y_N: Tensor) -> Tensor:
    """Pearson's correlation, in float32; 0 without a gradient where one of both does not vary.

    >>> round(correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([6.0, 4.0, 2.0])).item(), 4)
    -1.0
    """
    x_N, y_N = x_N.float(), y_N.float()
    away_x_N, away_y_N = x_N - x_N.mean(), y_N - y_N.mean()
    vary = _spread(x_N, away_x_N) & _spread(y_N, away_y_N)
    scale = torch.where(vary, away_x_N.norm() * away_y_N.norm(), 1.0)
    return torch.where(vary, away_x_N @ away_y_N / scale, 0.0)


def _spread(values_N: Tensor, away_N: Tensor) -> Tensor:
    return away_N.detach().abs().amax() > CONSTANT * values_N.detach().abs().amax()


def length_terms(quality_N: Tensor, length_score_N: Tensor, lengths_N: Tensor) -> LengthTerms:
    """The correlations that are trained against each other (arXiv 2402.07319, equation of the length loss).

    Args:
        quality_N: Outputs of the head that rewards.
        length_score_N: Outputs of the other head.
        lengths_N: Tokens of each response.
    """
    return LengthTerms(correlation(quality_N, lengths_N).abs(), correlation(length_score_N, lengths_N).abs())


def head_overlap(quality_D: Tensor, length_D: Tensor) -> Tensor:
    """|cosine| of the weights of two heads, in [0, 1]; 0 where they are orthogonal."""
    return torch.nn.functional.cosine_similarity(quality_D.float(), length_D.float(), dim=0).abs()
