"""Options of a configuration as flat names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


def leaves(node: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Every option by its full name; a list is one value, and so is an empty node.

    >>> dict(leaves({"seed": 0, "sft": {"lr": 0.1, "steps": [1, 2]}}))
    {'seed': 0, 'sft.lr': 0.1, 'sft.steps': [1, 2]}
    """
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
