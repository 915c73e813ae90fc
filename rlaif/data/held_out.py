"""Which texts are held out of a training."""

from __future__ import annotations

from rlaif.types import content_id


def is_held_out(key: str, fraction: float, split: str) -> bool:
    """Whether a text belongs to the held-out part; depends on the text alone.

    Args:
        key: What must not stand on both sides: a prompt's id, or how a conversation begins.
        fraction: Share that is held out, in [0, 1).
        split: Names the split, so that two splits are independent.

    >>> is_held_out("0123456789abcdef", 0.0, "validation")
    False
    """
    return int(content_id(split, key), 16) < fraction * 2**64
