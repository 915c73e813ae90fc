"""Penalties on the length of responses."""

from __future__ import annotations

from torch import Tensor


def soft_overlong_penalty(lengths_B: Tensor, *, max_length: int, buffer: int) -> Tensor:
    """0 up to ``max_length - buffer`` tokens, then falling to -1 at ``max_length`` (DAPO, arXiv 2503.14476, eq. 13).

    Args:
        lengths_B: Tokens of each response.
        max_length: Longest response in tokens.
        buffer: Tokens before the limit over which the penalty grows, from 1 to ``max_length``.

    Returns:
        [B] in [-1, 0], to be added to the reward.

    >>> import torch
    >>> soft_overlong_penalty(torch.tensor([4, 6, 7, 8, 9]), max_length=8, buffer=2)
    tensor([ 0.0000,  0.0000, -0.5000, -1.0000, -1.0000])
    """
    free = max_length - buffer
    return ((free - lengths_B.float()) / buffer).clamp(-1.0, 0.0)
