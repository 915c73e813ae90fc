"""The models that a labeler asks and the labelers it is made of, as it declares them.

A labeler names the attributes that hold its models in ``engines`` (without it: ``engine``, where it has that) and the
attributes that hold other labelers in ``members`` (without it: none). Answer cache, ledger, budget and estimate reach
exactly what is declared, so a labeler that keeps a model elsewhere is refused.
"""

from __future__ import annotations

import io
import logging
import pickle
from collections.abc import Callable, Iterator, Mapping
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, TypeVar

from rlaif.engines.base import Engine
from rlaif.errors import PluginError
from rlaif.types import Comparison, Completion, Preference, Prompt

L = TypeVar("L")

log = logging.getLogger(__name__)

ENGINES: tuple[str, ...] = ("engine",)
"""Declared by a labeler that says nothing: the attribute ``engine``, which configurations compose."""
_HOLD_NO_ENGINE = (
    *(str, bytes, int, float, Prompt, Completion, Comparison, Preference),
    *(type, ModuleType, FunctionType, BuiltinFunctionType),
)
"""Objects whose content is not searched; a method is, as it holds its object."""


def parts_of(labeler: object) -> Iterator[object]:
    """A labeler, then its declared members and theirs.

    Raises:
        PluginError: A declaration is wrong.
    """
    yield labeler
    for name in declared(labeler, "members"):
        for member in _labelers_in(getattr(labeler, name, None)):
            yield from parts_of(member)


def engines_of(labeler: object) -> list[Engine]:
    """Every model that a labeler and its members ask, each once.

    Raises:
        PluginError: A declaration is wrong.
    """
    found: dict[int, Engine] = {}
    for part in parts_of(labeler):
        for name in declared(part, "engines"):
            engine: Engine | None = getattr(part, name, None)
            if engine is not None:
                found.setdefault(id(engine), engine)
    return list(found.values())


def replace_engines(labeler: L, replacement: Callable[[Engine], Engine]) -> L:
    """Exchange the models that a labeler and its members ask, in place.

    Args:
        labeler: Anything that labels or rates.
        replacement: Called once for every model; one that several members share stays shared.

    Returns:
        The same labeler.

    Raises:
        PluginError: A declaration is wrong, or a model is kept where none is declared.
    """
    check_declared(labeler)
    replaced: dict[int, Engine] = {}
    for part in list(parts_of(labeler)):
        for name in declared(part, "engines"):
            engine: Engine | None = getattr(part, name, None)
            if engine is None:
                continue
            if id(engine) not in replaced:
                replaced[id(engine)] = replacement(engine)
            _assign(part, name, replaced[id(engine)])
    return labeler


def declared(labeler: object, kind: str) -> tuple[str, ...]:
    """The attributes that a labeler declares.

    Args:
        labeler: Anything that labels or rates.
        kind: ``engines`` or ``members``.

    Raises:
        PluginError: The declaration is no tuple of names of attributes.
    """
    names = getattr(labeler, kind, None)
    if names is None:
        return ENGINES if kind == "engines" else ()
    if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
        raise PluginError(f'{_name(labeler)}: {kind}={names!r} must be a tuple of names of attributes, e.g. ("llm",)')
    for name in names:
        if not hasattr(labeler, name):
            raise PluginError(f"{_name(labeler)}: {kind}={names!r}: it has no attribute {name}")
    return names


def check_declared(labeler: object) -> None:
    """Refuse a labeler that keeps a model where it declares none.

    What a labeler keeps is read from the state that it would send to another process (its pickle protocol).

    Raises:
        PluginError: With the attribute, and what to declare.
    """
    for part in parts_of(labeler):
        known = {*declared(part, "engines"), *declared(part, "members")}
        for name, value in _state(part).items():
            if name not in known and holds_engine(value):
                raise PluginError(
                    f"{_name(part)}: keeps a model in the attribute {name} and does not declare it, so its answers "
                    f"would be neither cached nor counted; {_remedy(part, name, value)}"
                )
        for name in getattr(part, "engines", ()):
            engine = getattr(part, name)
            if engine is not None and not is_engine(engine):
                raise PluginError(
                    f"{_name(part)}: engines={declared(part, 'engines')!r}: the attribute {name} holds a "
                    f"{type(engine).__name__}, which is no engine (it lacks score or generate)"
                )


def is_engine(value: object) -> bool:
    """True for what answers as an :class:`~rlaif.engines.base.Engine` does; its own contract test asks for the rest."""
    return all(callable(getattr(type(value), name, None)) for name in ("score", "generate"))


def holds_engine(value: object) -> bool:
    """True when a value is an engine, or holds one at any depth."""
    search = _Search()
    try:
        search.dump(value)
    except Exception as error:  # a plugin's object may raise anything while its state is read
        log.debug("%s cannot be searched to its end: %r", type(value).__name__, error)
    return search.found


class _Search(pickle.Pickler):
    """Walks through an object as pickling would, up to engines, and keeps nothing."""

    def __init__(self) -> None:
        super().__init__(_Discarded(), protocol=pickle.HIGHEST_PROTOCOL)
        self.found = False

    def persistent_id(self, obj: Any) -> str | None:
        """Named objects are not looked into: engines once one is found, and what cannot hold any."""
        self.found = self.found or is_engine(obj)
        return "seen" if self.found or isinstance(obj, _HOLD_NO_ENGINE) or _is_tensor(obj) else None

    def reducer_override(self, obj: Any) -> Any:
        """A lock or a socket holds no engine, and has no state to look into."""
        try:
            reduced = obj.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
        except Exception:  # whatever a plugin's object raises, its other attributes are still searched
            reduced = ""
        return reduced if isinstance(reduced, tuple) else (object, ())


class _Discarded(io.RawIOBase):
    """A file that forgets what is written."""

    def write(self, data: Any) -> int:
        return len(data)


def _is_tensor(value: object) -> bool:
    """Weights are large, and hold no engine; torch need not be imported to know them."""
    return any(kind.__module__.startswith("torch") for kind in type(value).__mro__)


def _labelers_in(value: object) -> list[object]:
    """Of an attribute: one labeler, several in a sequence, or several by name."""
    values = list(value.values()) if isinstance(value, Mapping) else value
    several = values if isinstance(values, list | tuple) else [values]
    return [item for item in several if item is not None]


def _state(labeler: object) -> dict[str, object]:
    """The attributes of an object by name, as its pickle protocol gives them."""
    try:
        state = labeler.__getstate__()
    except Exception:  # a plugin's own method may raise anything; the contract test says that it cannot be pickled
        return {}
    found: dict[str, object] = {}
    for part in state if isinstance(state, tuple) else (state,):
        if isinstance(part, Mapping):
            found |= {str(name): value for name, value in part.items()}
    return found


def _remedy(labeler: object, name: str, value: object) -> str:
    """The attribute that declares models, and an example."""
    where = f"to the class {type(labeler).__name__}"
    if is_engine(value):
        return f"add engines = {(*_named(labeler, 'engines'), name)!r} {where}"
    if any(hasattr(item, "label") or hasattr(item, "rate") for item in _labelers_in(value)):
        return f"add members = {(*_named(labeler, 'members'), name)!r} {where}"
    return f'keep the model in an attribute of the labeler too deep to be declared: add engines = ("...",) {where}'


def _named(labeler: object, kind: str) -> tuple[str, ...]:
    return tuple(name for name in declared(labeler, kind) if getattr(labeler, name, None) is not None)


def _assign(labeler: object, name: str, engine: Engine) -> None:
    try:
        object.__setattr__(labeler, name, engine)  # a frozen data class may be a labeler
    except AttributeError as error:
        raise PluginError(
            f"{_name(labeler)}: its attribute {name} cannot be set, so its answers would be neither cached nor "
            f"counted; declare the attribute that holds the model, engines = (...), on the class "
            f"{type(labeler).__name__}"
        ) from error


def _name(labeler: object) -> str:
    return f"labeler {getattr(labeler, 'name', type(labeler).__name__)}"
