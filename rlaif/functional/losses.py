"""Cross-entropies: preferences with soft labels, and tokens.

Shapes: B rows, T positions, V vocabulary, D hidden size. A mask is bool, True counts. A loss comes as
(total, count), so that accumulation and several processes can divide by the count of the whole batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class LossSum:
    """A loss before the division; add totals and counts of parts to get those of the whole."""

    total: Tensor
    """Scalar sum over what counts, attached to the graph."""
    count: Tensor
    """Scalar float: how much counted (rows, tokens, or the sum of weights)."""

    @property
    def mean(self) -> Tensor:
        """Total over count; 0 with zero gradient where nothing counts."""
        return self.total / torch.where(self.count > 0, self.count, 1.0)


def preference_cross_entropy(
    logit_B: Tensor, p_first_B: Tensor, weight_B: Tensor | None = None, mask_B: Tensor | None = None
) -> LossSum:
    """Cross-entropy of the reward model's preference to a soft label: -[p log σ(Δ) + (1 - p) log σ(-Δ)].

    Equals the paper's softmax(r1, r2) against (p, 1 - p), and -log σ(r_w - r_l) for one-hot labels. The
    gradient is zero at σ(Δ) = p. Source: arXiv 2309.00267, section 2.2.1 and appendix A.2.

    Args:
        logit_B: Δ = r(first) - r(second).
        p_first_B: Soft label in [0, 1]; may be NaN (missing) where the mask is False.
        weight_B: Non-negative weight of each row; 1 when None.
        mask_B: Rows that count; all when None. An unmasked NaN label makes the loss NaN.

    Returns:
        Sum in nats, and the sum of the weights.

    >>> preference_cross_entropy(torch.tensor([0.0]), torch.tensor([0.7])).mean
    tensor(0.6931)
    """
    mask_B = torch.ones_like(logit_B, dtype=torch.bool) if mask_B is None else mask_B
    weight_B = torch.ones_like(logit_B, dtype=torch.float32) if weight_B is None else weight_B.float()
    weight_B = torch.where(mask_B, weight_B, 0.0)
    logit_B = torch.where(mask_B, logit_B.float(), 0.0)
    label_B = torch.where(mask_B, p_first_B.float(), 0.5)
    loss_B = nn.functional.binary_cross_entropy_with_logits(logit_B, label_B, reduction="none")
    return LossSum((weight_B * loss_B).sum(), weight_B.sum())


def token_logprobs(logits_BTV: Tensor, tokens_BT: Tensor, temperature: float = 1.0) -> Tensor:
    """Log-probability of each token under softmax(logits / temperature), in float32.

    Args:
        logits_BTV: Position t predicts ``tokens_BT[:, t]`` (the caller has shifted).
        tokens_BT: Token ids.
        temperature: That of the sampling, so that the policy's log-probs are those of what was sampled.

    Returns:
        [B, T] in nats.

    >>> token_logprobs(torch.zeros(1, 1, 4), torch.tensor([[2]]))
    tensor([[-1.3863]])
    """
    if not temperature > 0:
        raise ValueError(f"temperature={temperature}: must be above 0")
    logits_BTV = logits_BTV.float() / temperature
    return -nn.functional.cross_entropy(logits_BTV.flatten(0, 1), tokens_BT.flatten(), reduction="none").view_as(
        tokens_BT
    )


def token_cross_entropy(logits_BTV: Tensor, labels_BT: Tensor, mask_BT: Tensor) -> LossSum:
    """Language-model loss over the masked positions.

    Args:
        logits_BTV: Position t predicts ``labels_BT[:, t]``.
        labels_BT: Token ids; any valid id where the mask is False.
        mask_BT: Positions that count (the response, its end token included).

    Returns:
        Sum in nats and number of tokens; with an empty mask both are 0 and ``mean`` is 0.

    >>> loss = token_cross_entropy(torch.zeros(1, 2, 4), torch.tensor([[1, 3]]), torch.tensor([[True, False]]))
    >>> loss.mean, loss.count
    (tensor(1.3863), tensor(1.))
    """
    logprobs_BT = token_logprobs(logits_BTV, labels_BT)
    return LossSum(-torch.where(mask_BT, logprobs_BT, 0.0).sum(), mask_BT.sum().float())
