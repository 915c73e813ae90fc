"""A function by its import path or its file: found without importing, loaded when it is needed."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from inspect import Parameter
from pathlib import Path
from typing import Any, NamedTuple

from rlaif.artifacts import code_digest
from rlaif.errors import ConfigError
from rlaif.near_miss import near_miss
from rlaif.registry import cause
from rlaif.signatures import SignatureError, bindings, find_definition
from rlaif.types import content_id

_FORMS = "write package.module:name or path/to/file.py:name"
_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


class Arguments(NamedTuple):
    """How a function wants to be called."""

    parameters: tuple[Parameter, ...]
    """A default of the source is shown as None."""
    is_asynchronous: bool


@dataclass(frozen=True)
class UserCode:
    """Where a function is."""

    given: str
    """As typed."""
    option: str
    """The option that names it."""
    name: str
    path: Path | None
    """Its file; None for a module that Python finds."""
    module: str = ""
    arguments: Arguments | None = None
    """As its source shows them; None where the source leaves them open: a decorator, a second definition, an import."""

    @classmethod
    def named(cls, given: str, option: str) -> UserCode:
        """Find a function.

        Args:
            given: ``package.module:name`` or ``path/to/file.py:name``.
            option: The option, for messages.

        Raises:
            ConfigError: There is no such file, module or name.
        """
        place, _, name = given.rpartition(":")
        if not place or not name.isidentifier():
            raise ConfigError(f"{option}={given}: {_FORMS}")
        if place.endswith(".py"):
            code = cls(given, option, name, Path(place).expanduser().absolute())
            return replace(code, arguments=_written_arguments(code._checked_file(), name))
        try:
            found = find_definition(f"{place}.{name}")
        except (SignatureError, ImportError, ValueError) as error:
            raise ConfigError(f"{option}={given}: {error}; {_FORMS}") from error
        return cls(given, option, name, None, place, None if found is None else _written_arguments(*found))

    def _checked_file(self) -> ast.Module:
        """The parsed file.

        Raises:
            ConfigError: It cannot be read, or nothing in it has the name.
        """
        assert self.path is not None
        try:
            tree = ast.parse(self.path.read_bytes(), filename=str(self.path))
        except OSError as error:
            raise ConfigError(f"{self.option}={self.given}: no such file ({error.strerror}); {_FORMS}") from error
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None) or 1
            raise ConfigError(f"{self.option}={self.given}: {self.path}:{line}: {error}") from error
        known = bindings(tree)
        if self.name not in known and "*" not in known:
            functions = [name for name, nodes in known.items() if any(isinstance(node, _FUNCTION) for node in nodes)]
            near = near_miss(self.name, list(known))
            hint = f"; did you mean {near}?" if near else f"; it has {', '.join(functions) or 'no functions'}"
            raise ConfigError(f"{self.option}={self.given}: {self.path} has no function {self.name}{hint}")
        return tree

    @property
    def identity(self) -> str:
        """Content hash of the file, or of the module and of what it imports from its own package."""
        if self.path is not None:
            return content_id(self.name, self.path.read_bytes().decode("latin-1"))
        try:
            return content_id(self.name, code_digest([self.module]))
        except ModuleNotFoundError:  # a compiled module has no source to look at
            return content_id(self.name, self.module)

    def load(self) -> Callable[..., Any]:
        """Import the function.

        Raises:
            ConfigError: Its module cannot be imported (file, line and cause), or the name is no function.
        """
        try:
            found = pkgutil.resolve_name(f"{self.module}:{self.name}") if self.path is None else self._from_file()
        except (Exception, SystemExit) as error:  # a user's module may fail in any way
            raise ConfigError(f"{self.option}={self.given}: cannot be imported: {cause(error)}") from error
        if not callable(found):
            raise ConfigError(f"{self.option}={self.given}: {self.name} is a {type(found).__name__}, no function")
        function: Callable[..., Any] = found
        return function

    def _from_file(self) -> Any:
        assert self.path is not None
        name = f"rlaif_user_{self.path.stem}_{content_id(str(self.path))[:8]}"
        spec = importlib.util.spec_from_file_location(name, self.path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # data classes look their module up
        spec.loader.exec_module(module)
        return getattr(module, self.name)


def arguments_of(function: Callable[..., Any], code: UserCode) -> Arguments:
    """The arguments of a function that is loaded.

    Raises:
        ConfigError: It does not tell them, as some functions of compiled modules.
    """
    try:
        parameters = tuple(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{code.option}={code.given}: its arguments cannot be read ({error}); write a function that calls it"
        ) from error
    called = (function, type(function).__call__)  # an object may have an asynchronous method
    return Arguments(parameters, any(map(inspect.iscoroutinefunction, called)))


def _written_arguments(tree: ast.Module, name: str) -> Arguments | None:
    """The arguments of a function as its source shows them; None where they may be others when it is loaded."""
    nodes = bindings(tree).get(name, [])
    if len(nodes) != 1 or not isinstance(nodes[0], _FUNCTION) or nodes[0].decorator_list:
        return None
    given = nodes[0].args
    plain = [*given.posonlyargs, *given.args]
    found = [
        Parameter(
            item.arg,
            Parameter.POSITIONAL_ONLY if place < len(given.posonlyargs) else Parameter.POSITIONAL_OR_KEYWORD,
            default=Parameter.empty if place < len(plain) - len(given.defaults) else None,
        )
        for place, item in enumerate(plain)
    ]
    found += [Parameter(given.vararg.arg, Parameter.VAR_POSITIONAL)] if given.vararg else []
    for item, value in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        found.append(Parameter(item.arg, Parameter.KEYWORD_ONLY, default=Parameter.empty if value is None else None))
    found += [Parameter(given.kwarg.arg, Parameter.VAR_KEYWORD)] if given.kwarg else []
    return Arguments(tuple(found), isinstance(nodes[0], ast.AsyncFunctionDef))
