"""What a loss over tokens needs of a forward pass, for any causal LM.

Shapes: B rows, T tokens, N positions that count, in row order, D hidden width, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rlaif.functional.losses import LossSum, token_cross_entropy
from rlaif.inference.adapters import without_wrapper
from rlaif.inference.heads import chunked_head, head_change, head_logits
from rlaif.inference.vocabulary import chunked_cross_entropy


def masked_cross_entropy(model: PreTrainedModel, input_ids_BT: Tensor, labels_BT: Tensor, mask_BT: Tensor) -> LossSum:
    """Language-model loss at masked positions; the logits of a large vocabulary are made in chunks.

    Args:
        model: A causal LM.
        input_ids_BT: Right-padded tokens; causal attention needs no mask.
        labels_BT: Token that each position predicts.
        mask_BT: Bool, positions that count.
    """
    model, labels_N = without_wrapper(model), labels_BT[mask_BT]
    head = chunked_head(model, len(labels_N))
    if head is not None:
        hidden_ND = model.base_model(input_ids=input_ids_BT, use_cache=False).last_hidden_state[mask_BT]
        total = chunked_cross_entropy(head, hidden_ND, labels_N)
        return LossSum(total, torch.full_like(total, len(labels_N)))
    logits_NV = masked_logits(model, input_ids_BT, mask_BT)
    counts_N = torch.ones_like(labels_N, dtype=torch.bool)
    return token_cross_entropy(logits_NV[None], labels_N[None], counts_N[None])


def masked_logits(model: PreTrainedModel, input_ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Logits of the next token at masked positions; the vocabulary is computed at these only.

    Args:
        model: A causal LM.
        input_ids_BT: Right-padded tokens; causal attention needs no mask.
        mask_BT: Bool, positions to keep.

    Returns:
        [N, V], N positions in row order.
    """
    model = without_wrapper(model)
    if head_change(model) is None:
        logits_NV: Tensor = model(input_ids=input_ids_BT, use_cache=False).logits[mask_BT]
        return logits_NV
    hidden_ND = model.base_model(input_ids=input_ids_BT, use_cache=False).last_hidden_state[mask_BT]
    return head_logits(model, hidden_ND)
