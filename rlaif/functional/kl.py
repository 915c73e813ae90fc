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


def token_k2(logprobs_BT: Tensor, ref_logprobs_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """½ (log π - log π_ref)² of each sampled token ("k2"), to be used as a loss.

    Its expected gradient over tokens sampled from π is that of KL(π ‖ π_ref) at the visited state. Its value is not
    that KL. As a loss, k1 has the expected gradient 0, so there is none of that name.

    Args:
        logprobs_BT: log π of the sampled tokens, with gradient.
        ref_logprobs_BT: log π_ref of the same tokens.
        mask_BT: Response tokens.

    Returns:
        [B, T], 0 outside the mask.

    >>> token_k2(torch.tensor([[-1.0]]), torch.tensor([[-3.0]]), torch.tensor([[True]]))
    tensor([[2.]])
    """
    return 0.5 * _log_ratio(logprobs_BT, ref_logprobs_BT, mask_BT).square()


def token_k3(logprobs_BT: Tensor, ref_logprobs_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """π_ref/π - log(π_ref/π) - 1 of each sampled token ("k3"): GRPO's original penalty (arXiv 2402.03300, equation 4).

    Its mean over tokens sampled from π is KL(π ‖ π_ref), but its expected *gradient* is that of the reverse,
    KL(π_ref ‖ π): 1 - π_ref/π does not see how far π is above π_ref, and explodes where it is below. Use
    :func:`weighted_token_k3` for the gradient of KL(π ‖ π_ref).

    Returns:
        [B, T], never negative, 0 outside the mask.

    >>> token_k3(torch.tensor([[-1.0]]), torch.tensor([[-1.0 - torch.tensor(2.0).log()]]), torch.tensor([[True]]))
    tensor([[0.1931]])
    """
    log_ratio_BT = _log_ratio(logprobs_BT, ref_logprobs_BT, mask_BT)
    return torch.expm1(-log_ratio_BT) + log_ratio_BT


def weighted_token_k3(logprobs_BT: Tensor, ref_logprobs_BT: Tensor, old_logprobs_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """π/π_old times k3 of each token, the gradient of both factors included (arXiv 2512.02556, section 3.1).

    Its mean over tokens sampled from π_old is KL(π ‖ π_ref) for every π, so its expected gradient is that of
    KL(π ‖ π_ref) at the visited state, also after several updates on one rollout.

    Args:
        logprobs_BT: log π of the sampled tokens, with gradient.
        ref_logprobs_BT: log π_ref of the same tokens.
        old_logprobs_BT: log π_old, before the first update on the rollout.
        mask_BT: Response tokens.

    Returns:
        [B, T], never negative, 0 outside the mask.

    >>> logprobs_BT, mask_BT = torch.tensor([[-1.0]]), torch.tensor([[True]])
    >>> weighted_token_k3(logprobs_BT, logprobs_BT - 1.0, logprobs_BT, mask_BT)
    tensor([[0.3679]])
    """
    ratio_BT = _log_ratio(logprobs_BT, old_logprobs_BT, mask_BT).exp()
    return ratio_BT * token_k3(logprobs_BT, ref_logprobs_BT, mask_BT)


def _log_ratio(logprobs_BT: Tensor, other_logprobs_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """log π - log π_other of each token, with the gradient of π only; 0 outside the mask, whatever stands there."""
    other_BT = torch.where(mask_BT, other_logprobs_BT.detach().float(), 0.0)
    return torch.where(mask_BT, logprobs_BT.float(), 0.0) - other_BT
