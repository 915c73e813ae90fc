"""A function by its import path or its file: found without importing, loaded when it is needed."""

from __future__ import annotations

import ast
import importlib.util
import pkgutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlaif.artifacts import code_digest
from rlaif.errors import ConfigError
from rlaif.near_miss import near_miss
from rlaif.registry import cause
from rlaif.signatures import SignatureError, read_signature
from rlaif.types import content_id

_FORMS = "write package.module:name or path/to/file.py:name"


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
            code._check_file()
            return code
        try:
            read_signature(f"{place}.{name}")
        except (SignatureError, ImportError, ValueError) as error:
            raise ConfigError(f"{option}={given}: {error}; {_FORMS}") from error
        return cls(given, option, name, None, place)

    def _check_file(self) -> None:
        assert self.path is not None
        try:
            tree = ast.parse(self.path.read_bytes(), filename=str(self.path))
        except OSError as error:
            raise ConfigError(f"{self.option}={self.given}: no such file ({error.strerror}); {_FORMS}") from error
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None) or 1
            raise ConfigError(f"{self.option}={self.given}: {self.path}:{line}: {error}") from error
        names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        assigned = [
            ast.unparse(target) for node in tree.body if isinstance(node, ast.Assign) for target in node.targets
        ]
        imported = [
            alias.asname or alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
        ]
        if self.name not in (known := [*names, *assigned, *imported]):
            near = near_miss(self.name, known)
            hint = f"; did you mean {near}?" if near else f"; it has {', '.join(names) or 'no functions'}"
            raise ConfigError(f"{self.option}={self.given}: {self.path} has no function {self.name}{hint}")

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
