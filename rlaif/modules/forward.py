"""Logits at the positions that a loss needs, for any causal LM."""

from __future__ import annotations

from torch import Tensor
from transformers import PreTrainedModel

from rlaif.inference.adapters import without_wrapper
from rlaif.inference.heads import head_change, head_logits


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
