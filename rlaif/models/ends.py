"""The tokens that end a response: a model may have several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlaif.chat_format import ChatFormat, special_ids


def end_token_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Every token that ends a response of this model.

    Those of tokenizer, configuration and generation configuration, and the end of turn of the chat template. An id of
    a configuration that is an ordinary token of this tokenizer ends nothing: it is another tokenizer's, or the
    library's default.

    Args:
        model: A causal LM.
        tokenizer: The model's, with an end token.

    Returns:
        Ids in ascending order, at least one.
    """
    named = {
        *_ids(model.config.get_text_config(decoder=True).eos_token_id),
        *_ids(getattr(model.config, "eos_token_id", None)),
    }
    if model.generation_config is not None:
        named |= set(_ids(model.generation_config.eos_token_id))
    ends = named & special_ids(tokenizer) | {int(tokenizer.eos_token_id)}
    if tokenizer.chat_template:
        ends.add(ChatFormat(tokenizer).end_id)
    return tuple(sorted(ends))


def _ids(named: Any) -> Sequence[int]:
    if named is None:
        return ()
    return tuple(named) if isinstance(named, Sequence) else (int(named),)
