"""Marks constructor parameters that do not change a result."""

from __future__ import annotations

from typing import Annotated, Final, TypeVar

T = TypeVar("T")


class _Runtime:
    """The marker's type; it has one instance."""

    def __repr__(self) -> str:
        return "RUNTIME"


RUNTIME: Final = _Runtime()
"""Metadata of a parameter's annotation that leaves the parameter out of every fingerprint."""

Runtime = Annotated[T, RUNTIME]
"""Annotation of a constructor parameter that never enters a fingerprint: urls, keys, budgets, prices, caches, devices,
limits and paths. ``def __init__(self, model: str, *, url: Runtime[str])``."""
