"""Put an answer cache and a ledger in front of every model that a labeler asks."""

from __future__ import annotations

from typing import TypeVar

from rlaif.engines.answer_cache import AnswerCache
from rlaif.engines.base import Engine
from rlaif.engines.cached import CachedEngine
from rlaif.engines.spending import Ledger
from rlaif.labelers.models import replace_engines

L = TypeVar("L")


def wrap_engines(
    labeler: L, *, cache: AnswerCache | None = None, ledger: Ledger | None = None, ask_refused_again: bool = False
) -> L:
    """Make a labeler ask through :class:`rlaif.engines.cached.CachedEngine`.

    An engine that is wrapped already is left as it is, and one that several members share stays shared. No identity
    changes.

    Args:
        labeler: Anything that labels or rates; see :func:`rlaif.labelers.models.replace_engines`.
        cache: Where answers are kept; None keeps none.
        ledger: Counts what was asked; None counts nothing.
        ask_refused_again: As in :class:`rlaif.engines.cached.CachedEngine`.

    Returns:
        The same labeler.

    Raises:
        PluginError: The labeler keeps a model that it does not declare.

    >>> from types import SimpleNamespace
    >>> from rlaif.engines.scripted import ScriptedEngine
    >>> engine = ScriptedEngine()
    >>> judges = [SimpleNamespace(engine=engine), SimpleNamespace(engine=engine)]
    >>> first, second = wrap_engines(SimpleNamespace(members=("judges",), judges=judges)).judges
    >>> first.engine is second.engine, first.engine.engine is engine
    (True, True)
    """

    def wrap(engine: Engine) -> Engine:
        if isinstance(engine, CachedEngine):
            return engine
        return CachedEngine(engine, cache, ledger=ledger, ask_refused_again=ask_refused_again)

    return replace_engines(labeler, wrap)
