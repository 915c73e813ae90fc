"""The nearest allowed word to one that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def near_miss(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate a person most likely meant, or None.

    Args:
        word: As typed.
        candidates: What is known.

    >>> near_miss("labeller", ["task", "labeler"])
    'labeler'
    >>> near_miss("cot", ["pairwise", "cot_pairwise"])
    'cot_pairwise'
    """
    names = sorted(candidates)
    close = difflib.get_close_matches(word, names, n=1)
    if close:
        return close[0]
    return next((name for name in names if len(word) > 2 and (name.startswith(word) or word in name.split("_"))), None)
