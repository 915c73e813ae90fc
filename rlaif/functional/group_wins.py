"""Wins of each response against the others to its prompt.

Shapes: B responses, K responses to each prompt.
"""

from __future__ import annotations

from torch import Tensor


def mean_wins(p_first_BK: Tensor) -> Tensor:
    """Mean distance from a tie, 2p − 1, of each response over its comparisons.

    Args:
        p_first_BK: P(the response is better than the k-th one to its prompt), NaN where there is no comparison (with
            itself) or it is missing.

    Returns:
        [B] in [−1, 1]: a missing comparison is left out; NaN for a response without any.

    >>> import torch
    >>> nan = float("nan")
    >>> mean_wins(torch.tensor([[nan, 0.75, nan], [0.25, nan, 1.0], [nan, 0.0, nan]]))
    tensor([ 0.5000,  0.2500, -1.0000])
    """
    return (2.0 * p_first_BK - 1.0).nanmean(-1)
