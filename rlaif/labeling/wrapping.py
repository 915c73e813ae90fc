"""Put an answer cache and a ledger in front of every model that a labeler asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from rlaif.engines.answer_cache import AnswerCache
from rlaif.engines.base import Engine
from rlaif.engines.cached import CachedEngine
from rlaif.engines.spending import Ledger

L = TypeVar("L")

_PARTS = ("labelers", "labeler")
"""Attributes in which a labeler keeps other labelers: several (a sequence, or by name), or one."""


def wrap_engines(labeler: L, *, cache: AnswerCache | None = None, ledger: Ledger | None = None) -> L:
    """Make a labeler ask through :class:`rlaif.engines.cached.CachedEngine`.

    An engine that is wrapped already is left as it is, and one that several members share stays shared. No identity
    changes.

    Args:
        labeler: Anything that labels or rates; see :func:`replace_engines`.
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

    def wrap(engine: Engine) -> Engine:
        return engine if isinstance(engine, CachedEngine) else CachedEngine(engine, cache, ledger=ledger)

    return replace_engines(labeler, wrap)


def replace_engines(labeler: L, replacement: Callable[[Engine], Engine]) -> L:
    """Change the engines that a labeler asks, in place.

    Args:
        labeler: The attribute ``engine`` is replaced, of it and of the members in its attributes ``labelers`` and
            ``labeler``, however deep. Properties are left alone, and so is a labeler without an engine.
        replacement: Called once for every engine.

    Returns:
        The same labeler.
    """
    replaced: dict[int, Engine] = {}
    for part in parts_of(labeler):
        attributes = getattr(part, "__dict__", {})
        engine: Engine | None = attributes.get("engine")
        if engine is not None:
            if id(engine) not in replaced:
                replaced[id(engine)] = replacement(engine)
            attributes["engine"] = replaced[id(engine)]
    return labeler


def parts_of(labeler: object) -> Iterator[object]:
    """A labeler and the members in its attributes ``labelers`` and ``labeler``, however deep."""
    yield labeler
    for name in _PARTS:
        inner = getattr(labeler, "__dict__", {}).get(name, ())
        members = list(inner.values()) if isinstance(inner, Mapping) else inner
        for member in members if isinstance(members, list | tuple) else [members]:
            yield from parts_of(member)
