"""Holds an object against the bounds that its constructor's annotations declare."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from rlaif.errors import ConfigError
from rlaif.ranges import Bounds
from rlaif.signatures import read_signature


def check_bounds(component: object, option: str) -> None:
    """Hold an object's attributes against the bounds that its constructor declares.

    Called at the end of a constructor that stores each bounded parameter under the parameter's name.

    Args:
        component: The object.
        option: The option that the object is made from, as typed, e.g. ``label``.

    Raises:
        ConfigError: With every number that is out of its bounds.
    """
    if problems := [f"{option}.{problem}" for problem in bounds_problems(component)]:
        raise ConfigError(problems)


def bounds_problems(component: object) -> list[str]:
    """Every number of an object that is out of the bounds that its constructor declares: ``name=value: what is
    allowed``."""
    return [
        f"{name}={value}: {bounds}"
        for name, bounds in _declared(type(component).__module__, type(component).__qualname__).items()
        if (value := getattr(component, name)) is not None and not bounds.holds(value)
    ]


@cache
def _declared(module: str, name: str) -> Mapping[str, Bounds]:
    """Bounds by parameter, of those whose values the object keeps."""
    parameters = read_signature(f"{module}.{name}").parameters
    return {name: parameter.kind.bounds for name, parameter in parameters.items() if parameter.kind.bounds is not None}
