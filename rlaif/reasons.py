"""Reasons of missing judgements that hold figures, and the same reasons without them, to be counted by."""

from __future__ import annotations

import re

_KINDS = (
    (re.compile(r"answer mass \S+ below "), "answer mass below "),
    (re.compile(r"prompt too long: [\d,]+ tokens with [\d,]+ more, the context "), "prompt too long: the context "),
    (re.compile(r"server read [\d,]+ of [\d,]+ prompt tokens"), "server read fewer prompt tokens than it was sent"),
)


def low_answer_mass(mass: float, minimum: float) -> str:
    """The reason of a judgement whose answers together are too improbable.

    >>> low_answer_mass(2.1e-7, 1e-6)
    'answer mass 2.1e-07 below labeler.min_answer_mass=1e-06'
    """
    return f"answer mass {mass:.2g} below labeler.min_answer_mass={minimum:g}"


def prompt_cut(num_read: int, num_sent: int) -> str:
    """The reason of a judgement of which the server has read a part.

    >>> prompt_cut(2050, 4900)
    'server read 2,050 of 4,900 prompt tokens'
    """
    return f"server read {num_read:,} of {num_sent:,} prompt tokens"


def longer_than_context(num_tokens: int, num_more: int, context: int) -> str:
    """The reason of a judgement whose prompt a local model cannot read.

    Args:
        num_tokens: Of the prompt.
        num_more: Tokens that follow it.
        context: Tokens that the model reads at most.

    >>> longer_than_context(1203, 1, 1024)
    'prompt too long: 1,203 tokens with 1 more, the context has 1,024'
    >>> kind_of(longer_than_context(1203, 1, 1024))
    'prompt too long: the context has 1,024'
    """
    return f"prompt too long: {num_tokens:,} tokens with {num_more:,} more, the context has {context:,}"


def kind_of(reason: str) -> str:
    """A judgement's reason without the figures that differ between judgements, as its label gives it.

    >>> kind_of(low_answer_mass(2.1e-7, 1e-6)), kind_of("http 500")
    ('answer mass below labeler.min_answer_mass=1e-06', 'http 500')
    """
    for figures, kind in _KINDS:
        reason = figures.sub(kind, reason)
    return reason
