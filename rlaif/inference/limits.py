"""Lengths beyond which a token's states depend on more than its own text, which shared prefixes do not support."""

from __future__ import annotations

from typing import Any


def attention_window(text: Any) -> tuple[int, str] | None:
    """Tokens that a layer looks back at most, and the entry of the configuration that says so; None: all.

    Args:
        text: Configuration of a decoder.
    """
    kinds = getattr(text, "layer_types", None)
    window = getattr(text, "sliding_window", None)
    if isinstance(window, int) and (not kinds or "sliding_attention" in kinds):
        return window, "sliding_window"
    window = getattr(text, "window_size", None)
    if isinstance(window, int) and "local" in (getattr(text, "attention_layers", None) or ()):  # GPT-Neo
        return window, "window_size"
    return None


def rotation_limit(text: Any) -> tuple[int, str] | None:
    """Length from which on rotary positions are others for all tokens of a batch, and what says so; None: they do not
    change.

    Args:
        text: Configuration of a decoder.
    """
    rope = getattr(text, "rope_parameters", None) or {}
    kind = rope.get("rope_type")
    original = rope.get("original_max_position_embeddings")
    original = getattr(text, "original_max_position_embeddings", None) if original is None else original
    if kind == "longrope" and isinstance(original, int):
        return original, "original_max_position_embeddings"
    longest = getattr(text, "max_position_embeddings", None)
    return (longest, "max_position_embeddings") if kind == "dynamic" and isinstance(longest, int) else None
