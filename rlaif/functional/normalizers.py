"""Denominators of losses over tokens: what a token weighs, and what the sum is divided by.

Shapes: B responses (prompt-major, K consecutive rows per prompt), T response tokens. Masks are bool, True counts.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import Tensor

Per = Literal["step", "group", "sequence", "constant"]
"""Unit whose tokens are averaged (:func:`token_weights`)."""


class TokenWeights(NamedTuple):
    """A mean over tokens as two sums: Σ weight · loss over Σ share.

    Both sums add up over micro-batches and processes, so the mean is that of the whole optimizer step.
    """

    weights_BT: Tensor
    """Weight of each token; 0 where it does not count."""
    shares_B: Tensor
    """Contribution of each response to the denominator; 0 where it does not count."""


def token_weights(
    mask_BT: Tensor, counted_B: Tensor, *, samples_per_prompt: int, per: Per, constant: float | None = None
) -> TokenWeights:
    """Weights and shares of a mean over tokens.

    ``step`` is the mean over all tokens of the optimizer step (DAPO's published code); ``group`` the mean over the
    tokens of a prompt's responses, then over prompts (DAPO, arXiv 2503.14476, equation 8); ``sequence`` the mean over
    the tokens of a response, then over responses (GRPO, arXiv 2402.03300, equation 3); ``constant`` the sum over a
    response's tokens over a constant, then the mean over responses (Dr. GRPO, arXiv 2503.20783).

    Args:
        mask_BT: Response tokens.
        counted_B: Responses that count.
        samples_per_prompt: K.
        per: The unit.
        constant: Divisor of ``constant``, above 0: the longest response that could have been sampled.

    >>> import torch
    >>> token_weights(torch.tensor([[True, True], [True, False]]), torch.tensor([True, True]),
    ...               samples_per_prompt=2, per="sequence")
    TokenWeights(weights_BT=tensor([[0.5000, 0.5000],
            [1.0000, 0.0000]]), shares_B=tensor([1., 1.]))
    """
    counted_BT = mask_BT & counted_B[:, None]
    counts_B, lengths_B = counted_B.float(), counted_BT.sum(-1).float()
    if per == "step":
        return TokenWeights(counted_BT.float(), lengths_B)
    if per == "constant":
        assert constant is not None
        return TokenWeights(counted_BT.float() / constant, counts_B)
    if per == "sequence":
        return TokenWeights(counted_BT / lengths_B.clamp(min=1)[:, None], counts_B)
    group_lengths_B, group_counts_B = (_group_sum(part, samples_per_prompt) for part in (lengths_B, counts_B))
    return TokenWeights(counted_BT / group_lengths_B.clamp(min=1)[:, None], counts_B / group_counts_B.clamp(min=1))


def _group_sum(values_B: Tensor, samples_per_prompt: int) -> Tensor:
    """Sum over the rows of each row's prompt."""
    grouped_GK = values_B.view(-1, samples_per_prompt)
    return grouped_GK.sum(-1, keepdim=True).expand_as(grouped_GK).reshape(-1)
