"""Put an answer cache and a ledger in front of every model that a labeler asks."""

from __future__ import annotations

from typing import TypeVar

from rlaif.engines.answer_cache import AnswerCache
from rlaif.engines.base import Engine
from rlaif.engines.cached import CachedEngine
from rlaif.engines.spending import Ledger

L = TypeVar("L")

_PARTS = ("labelers", "labeler")
"""Attributes in which a labeler keeps other labelers: a sequence, or one."""


def wrap_engines(labeler: L, *, cache: AnswerCache | None = None, ledger: Ledger | None = None) -> L:
    """Make a labeler ask through :class:`rlaif.engines.cached.CachedEngine`.

    The attribute ``engine`` is replaced in place, of the labeler and of the members in its attributes ``labelers`` and
    ``labeler``, however deep; properties are left alone. A labeler without an engine is left as it is, and so is an
    engine that is wrapped already. An engine that several members share stays shared. No identity changes.

    Args:
        labeler: Anything that labels or rates.
        cache: Where answers are kept; None keeps none.
        ledger: Counts what was asked; None counts nothing.

    Returns:
        The same labeler.

    >>> from types import SimpleNamespace
    >>> from rlaif.engines.scripted import ScriptedEngine
    >>> engine = ScriptedEngine()
    >>> panel = SimpleNamespace(labelers=[SimpleNamespace(engine=engine), SimpleNamespace(engine=engine)])
    >>> first, second = wrap_engines(panel).labelers
    >>> first.engine is second.engine, first.engine.engine is engine
    (True, True)
    """
    wrapped: dict[int, CachedEngine] = {}

    def wrap(part: object) -> None:
        attributes = getattr(part, "__dict__", {})
        engine: Engine | None = attributes.get("engine")
        if engine is not None and not isinstance(engine, CachedEngine):
            wrapped.setdefault(id(engine), CachedEngine(engine, cache, ledger=ledger))
            attributes["engine"] = wrapped[id(engine)]
        for name in _PARTS:
            inner = attributes.get(name, ())
            for member in inner if isinstance(inner, list | tuple) else [inner]:
                wrap(member)

    wrap(labeler)
    return labeler
