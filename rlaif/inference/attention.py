"""Attention over the keys and values of a cache, by the products that suit the device.

Shapes: B rows, T new tokens, S slots, N query rows of one key-value head (T times the heads that share it),
D head width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from rlaif.inference.linear import onednn_is_faster, products

SMALL_SCORES = 2**15
"""Scores per key-value head up to which all rows are one product: beyond, a row's scores stay in the cache."""
LARGE_SCORES = 2**23
"""Scores per key-value head from which they are never held at once, where products through oneDNN beat sdpa's own."""


def additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A bool mask as what attention adds to its scores: 0 where True, the lowest number where False.

    Eager attention silently misreads bool masks, and sdpa converts them again in every layer.

    >>> additive(torch.tensor([True, False]), torch.float32).tolist()[0]
    0.0
    """
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, torch.finfo(dtype).min)


def attend(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """Attention [B, T, heads * D] of queries [B, T, heads, D] over keys and values [B, key-value heads, S, D].

    Args:
        query: Rotated queries.
        keys: Rotated keys.
        values: Values.
        mask: What is added to the scores [1 or B, T, S], the same for all heads; None is causal over T = S.
    """
    rows, length, heads, width = query.shape
    num_kv_heads = keys.shape[1]
    per_kv = heads // num_kv_heads
    if mask is None:
        keys, values = (states.repeat_interleave(per_kv, dim=1) for states in (keys, values))
        out = F.scaled_dot_product_attention(query.transpose(1, 2), keys, values, is_causal=True)
        return out.transpose(1, 2).reshape(rows, length, -1)
    # Queries that share a key-value head become rows of one product.
    query = query.view(rows, length, num_kv_heads, per_kv, width).permute(0, 2, 3, 1, 4)
    query = query.reshape(rows, num_kv_heads, per_kv * length, width)
    num_scores = per_kv * length * keys.shape[2]
    holds_scores = num_scores < (LARGE_SCORES if onednn_is_faster() else SMALL_SCORES)
    if query.device.type != "cpu" or not holds_scores:
        out = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask.repeat(1, per_kv, 1)[:, None])
    elif num_scores <= SMALL_SCORES:
        out = _attend(query * width**-0.5, keys, values, mask[:, None])
    else:
        query = query * width**-0.5
        masks = mask.expand(rows, -1, -1)
        out = torch.stack([_attend(query[row], keys[row], values[row], masks[row]) for row in range(rows)])
    out = out.view(rows, num_kv_heads, per_kv, length, width).permute(0, 3, 1, 2, 4)
    return out.reshape(rows, length, -1)


def _attend(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """Attention [..., N, D] of scaled queries by two products; the mask [..., T, S] repeats within N.

    On AMD processors the CPU kernel of sdpa takes about twice as long: it multiplies small blocks. Elsewhere it takes
    less time, but for the few scores of a decoding step.
    """
    scores = products(query, keys)
    scores.unflatten(-2, (-1, mask.shape[-2])).add_(mask.unsqueeze(-3))
    return products(scores.softmax(-1), values.transpose(-1, -2))
