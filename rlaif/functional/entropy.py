"""Entropy of a policy's next-token distributions, in nats.

Shapes: B responses, T response positions, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor


def token_entropy(logits_BTV: Tensor) -> Tensor:
    """-Σ_v π(v) log π(v) at each position, with gradient.

    Args:
        logits_BTV: Policy logits / temperature. A token at ``-inf`` has no share in it.

    Returns:
        [B, T] in nats, from 0 to log V.

    >>> token_entropy(torch.zeros(1, 1, 4))
    tensor([[1.3863]])
    """
    logprobs_BTV = torch.log_softmax(logits_BTV.float(), -1)
    possible_BTV = logprobs_BTV > -torch.inf
    return -(logprobs_BTV.exp() * torch.where(possible_BTV, logprobs_BTV, 0.0)).sum(-1)
