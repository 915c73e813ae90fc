"""Several judges' probabilities as one.

Shapes: M judges, B comparisons. A missing verdict is NaN and left out of its comparison; a comparison without any
verdict stays NaN.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

EPS = 1e-6
"""Probabilities of exactly 0 and 1 count as this far away in log-odds."""


def linear_pool(p_MB: Tensor, weights_M: Tensor) -> Tensor:
    """Weighted mean of probabilities.

    Args:
        p_MB: Probabilities, NaN where missing.
        weights_M: Above 0; they need not sum to 1.

    >>> linear_pool(torch.tensor([[0.9, torch.nan], [0.5, 0.4]]), torch.tensor([3.0, 1.0]))
    tensor([0.8000, 0.4000])
    """
    present_MB = ~p_MB.isnan()
    weighted_MB = weights_M[:, None] * present_MB
    return (weighted_MB * p_MB.nan_to_num()).sum(0) / weighted_MB.sum(0)


def log_odds_pool(p_MB: Tensor, weights_M: Tensor) -> Tensor:
    """σ(Σ w·logit p): evidence of independent judges adds up in log-odds.

    Args:
        p_MB: Probabilities, NaN where missing: no evidence.
        weights_M: How much a judge's log-odds count; 1 takes them at their word.

    >>> log_odds_pool(torch.tensor([[0.8], [0.8]]), torch.tensor([1.0, 1.0]))
    tensor([0.9412])
    """
    pooled_B = torch.sigmoid((weights_M[:, None] * _log_odds(p_MB)).sum(0))
    return torch.where(p_MB.isnan().all(0), torch.nan, pooled_B)


def log_odds_weights(p_MB: Tensor, chosen_B: Tensor, *, penalty: float = 1.0) -> Tensor:
    """Weights of :func:`log_odds_pool` that explain known choices best (logistic regression without a constant).

    Args:
        p_MB: The judges' probabilities, NaN where missing.
        chosen_B: What people say, in [0, 1]; a share counts as that much of either choice.
        penalty: Strength of the pull towards 0, in units of one half per squared weight.

    Returns:
        Weights [M] in float64.
    """
    features = _log_odds(p_MB).T.double().numpy()
    chosen = chosen_B.double().numpy()
    model = LogisticRegression(fit_intercept=False, C=1.0 / penalty, tol=1e-8, max_iter=1000)
    model.fit(
        np.concatenate([features, features]),
        np.repeat([1, 0], len(chosen)),
        sample_weight=np.concatenate([chosen, 1.0 - chosen]),
    )
    return torch.from_numpy(model.coef_[0].copy())


def _log_odds(p_MB: Tensor) -> Tensor:
    return torch.logit(p_MB, eps=EPS).nan_to_num(0.0)
