"""Longest text that a model reads, by its configuration."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

LIMITS = ("max_position_embeddings", "max_seq_len", "n_ctx")
"""Entries of config.json that name the longest text."""


def context_limit(config: PreTrainedConfig, *, sampled: bool) -> tuple[int, str] | None:
    """Longest text of a model and the entry of its configuration that says so; None where it has no limit.

    Args:
        config: Of the model.
        sampled: Whether it is sampled from, with shared prefixes, which know no sliding window.
    """
    text: Any = config.get_text_config(decoder=True)
    found = [(getattr(text, name), name) for name in LIMITS if isinstance(getattr(text, name, None), int)][:1]
    kinds = getattr(text, "layer_types", None)
    window = getattr(text, "sliding_window", None)
    if sampled and isinstance(window, int) and (not kinds or "sliding_attention" in kinds):
        found.append((window, "sliding_window"))
    return min(found, default=None)
