"""Longest text that a model reads, by its configuration."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

from rlaif.inference.limits import attention_window, rotation_limit

LIMITS = ("max_position_embeddings", "max_seq_len", "n_ctx")
"""Entries of config.json that name the longest text."""


def context_limit(config: PreTrainedConfig, *, sampled: bool) -> tuple[int, str] | None:
    """Longest text of a model and the entry of its configuration that says so; None where it has no limit.

    Args:
        config: Of the model.
        sampled: Whether it is sampled from, with shared prefixes, which know no sliding window and no rotation that
            changes with the longest row of a batch.
    """
    text: Any = config.get_text_config(decoder=True)
    found = [(getattr(text, name), name) for name in LIMITS if isinstance(getattr(text, name, None), int)][:1]
    if sampled:
        found += [limit for limit in (attention_window(text), rotation_limit(text)) if limit is not None]
    return min(found, default=None)
