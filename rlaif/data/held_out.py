"""The split into training and held-out prompts, by hashes of their texts alone."""

from __future__ import annotations

from rlaif.types import ASSISTANT_TURN, content_id


def is_held_out(key: str, fraction: float, split: str) -> bool:
    """True when a text belongs to the held-out part; depends on the text alone.

    Args:
        key: The text that decides: a prompt's id, or the beginning of a conversation.
        fraction: Share that is held out, in [0, 1).
        split: Names the split, so that two splits are independent.

    >>> is_held_out("0123456789abcdef", 0.0, "validation")
    False
    """
    return int(content_id(split, key), 16) < fraction * 2**64


def conversation_start(prompt: str) -> str:
    """The first human turn: HH holds one conversation at several lengths, which belong on one side of a split."""
    return prompt.partition(ASSISTANT_TURN)[0]
