"""Logits at the positions that a loss needs, for any causal LM."""

from __future__ import annotations

from torch import Tensor
from transformers import PreTrainedModel

_HEAD_OPTIONS = ("final_logit_softcapping", "logits_scaling", "logit_scale")
"""Configuration of models whose logits are more than a linear map of the hidden state."""


def masked_logits(model: PreTrainedModel, input_ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Logits of the next token at masked positions; the vocabulary is computed at these only.

    Args:
        model: A causal LM.
        input_ids_BT: Right-padded tokens; causal attention needs no mask.
        mask_BT: Bool, positions to keep.

    Returns:
        [N, V], N positions in row order.
    """
    config = model.config.get_text_config(decoder=True)
    if any(getattr(config, option, None) not in (None, 1, 1.0) for option in _HEAD_OPTIONS):
        logits_NV: Tensor = model(input_ids=input_ids_BT, use_cache=False).logits[mask_BT]
        return logits_NV
    hidden_ND = model.base_model(input_ids=input_ids_BT, use_cache=False).last_hidden_state[mask_BT]
    logits_NV = model.get_output_embeddings()(hidden_ND)
    return logits_NV
