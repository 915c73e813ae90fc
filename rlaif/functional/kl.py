"""Kullback-Leibler divergence between the policy and its reference, in nats.

Shapes: B responses, T response positions, V vocabulary. Both models' log-probs are those of the
distribution that was sampled (logits / temperature). Masks are bool, True counts.
"""

from __future__ import annotations

import torch
from torch import Tensor


def sampled_sequence_kl(logprobs_BT: Tensor, ref_logprobs_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Estimate KL(π ‖ π_ref) of each response from its own tokens: Σ_t log π - log π_ref ("k1").

    Unbiased over responses sampled from π, and can be negative for one response. A number to report or to
    put into the reward; as a *loss* its expected gradient is zero.

    Args:
        logprobs_BT: log π of the sampled tokens.
        ref_logprobs_BT: log π_ref of the same tokens.
        mask_BT: Response tokens.

    Returns:
        [B] in nats per response; 0 for an empty response.

    >>> sampled_sequence_kl(torch.tensor([[-1.0, -1.0]]), torch.tensor([[-1.5, -3.0]]), torch.tensor([[True, False]]))
    tensor([0.5000])
    """
    return torch.where(mask_BT, logprobs_BT.float() - ref_logprobs_BT.float(), 0.0).sum(-1)


def token_kl(logits_BTV: Tensor, ref_logits_BTV: Tensor) -> Tensor:
    """KL(π ‖ π_ref) of the next token at each position, summed over the whole vocabulary.

    Args:
        logits_BTV: Policy logits, already divided by the temperature.
        ref_logits_BTV: Reference logits, treated the same. A token at ``-inf`` in both has no share in it.

    Returns:
        [B, T] in nats, never negative up to rounding.

    >>> token_kl(torch.zeros(1, 1, 2), torch.zeros(1, 1, 2))
    tensor([[0.]])
    """
    logprobs_BTV = torch.log_softmax(logits_BTV.float(), -1)
    ref_logprobs_BTV = torch.log_softmax(ref_logits_BTV.float(), -1)
    possible_BTV = logprobs_BTV > -torch.inf
    log_ratio_BTV = torch.where(possible_BTV, logprobs_BTV, 0.0) - torch.where(possible_BTV, ref_logprobs_BTV, 0.0)
    return (logprobs_BTV.exp() * log_ratio_BTV).sum(-1)


def sequence_kl(logits_BTV: Tensor, ref_logits_BTV: Tensor, mask_BT: Tensor) -> Tensor:
    """Sum of :func:`token_kl` along each response: estimates the same KL as the sampled one, with less noise.

    Its gradient is that of the KL at the visited states only; it does not see that the policy also
    chooses which states are visited.

    Returns:
        [B] in nats per response; 0 for an empty response.
    """
    return torch.where(mask_BT, token_kl(logits_BTV, ref_logits_BTV), 0.0).sum(-1)
