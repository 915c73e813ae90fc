"""Constructor signatures, read from source files with ``ast``: nothing is imported.

Importing Lightning takes seconds; reading the one file that defines a class takes milliseconds.
Names are followed through re-exports (``lightning.Trainer``) and through type aliases.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rlaif.kinds import ANYTHING, Kind
from rlaif.ranges import Bounds

NOT_LITERAL: Any = type("_NotLiteral", (), {"__repr__": lambda self: "NOT_LITERAL"})()
"""Marks a default that is an expression, not a literal."""

_PLAIN = {"int": "int", "float": "float", "bool": "bool", "str": "str", "Path": "str", "PathLike": "str"}
_LISTS = ("list", "tuple", "set", "frozenset", "List", "Tuple", "Sequence", "Iterable", "Collection")
_DICTS = ("dict", "Dict", "Mapping", "MutableMapping")
_CONTAINERS = dict.fromkeys(_LISTS, "list") | dict.fromkeys(_DICTS, "dict")


class SignatureError(Exception):
    """A ``_target_`` names a module or a class that does not exist."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One constructor parameter."""

    name: str
    kind: Kind
    required: bool
    default: Any = None
    """The literal default; ``NOT_LITERAL`` for an expression; None when required."""
    runtime: bool = False
    """True for ``Runtime[T]``: the value never enters a fingerprint."""


@dataclass(frozen=True, slots=True)
class Signature:
    """The parameters of a ``_target_``."""

    target: str
    parameters: dict[str, Parameter] = field(default_factory=dict)
    accepts_any: bool = False
    """True with ``**kwargs``, or where the signature cannot be read."""


@dataclass(frozen=True, slots=True)
class _Module:
    name: str
    is_package: bool
    tree: ast.Module

    def statements(self) -> Iterator[ast.stmt]:
        """Top-level statements, those inside ``if`` and ``try`` included."""
        pending: list[ast.stmt] = list(self.tree.body)
        while pending:
            node = pending.pop(0)
            yield node
            if isinstance(node, ast.If):
                pending = node.body + node.orelse + pending
            elif isinstance(node, ast.Try):
                handled = [stmt for handler in node.handlers for stmt in handler.body]
                pending = node.body + handled + node.orelse + pending


_Found = tuple[_Module, ast.stmt]
_SCOPES = (ast.ClassDef, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
"""Their names are none of the module."""


@cache
def read_signature(target: str) -> Signature:
    """Read the signature of a dotted ``_target_`` from its source.

    Args:
        target: A class or function, e.g. ``"lightning.Trainer"``.

    Raises:
        SignatureError: The module or the name in it does not exist.
    """
    found = _find_target(target)
    if found is None:
        return Signature(target, accepts_any=True)
    where, node, is_whole = found
    if isinstance(node, ast.ClassDef) and is_whole:
        return _class_signature(target, where, node) or Signature(target, accepts_any=True)
    if isinstance(node, ast.FunctionDef):
        return _function_signature(target, where, node, skip_first=False)
    return Signature(target, accepts_any=True)


def find_definition(target: str) -> tuple[ast.Module, str] | None:
    """The source that defines a dotted name, and the name there; None where the source does not show it.

    Raises:
        SignatureError: The module or the name in it does not exist.
    """
    found = _find_target(target)
    if found is None or not found[2] or not isinstance(found[1], ast.FunctionDef | ast.AsyncFunctionDef):
        return None
    return found[0].tree, found[1].name


def bindings(tree: ast.Module) -> dict[str, list[ast.AST]]:
    """What binds each name of a module but imported modules, in ``if``, ``try`` and other blocks, too; ``*`` is that of
    ``from … import *``."""
    found: dict[str, list[ast.AST]] = {}
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop(0)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.alias):
            found.setdefault(getattr(node, "asname", None) or node.name, []).append(node)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.setdefault(node.id, []).append(node)
        elif not isinstance(node, (*_SCOPES, ast.Import)) and not (isinstance(node, ast.AnnAssign) and not node.value):
            pending += ast.iter_child_nodes(node)
    return found


def _find_target(target: str) -> tuple[_Module, ast.stmt, bool] | None:
    """The statement that a dotted name stands for, and whether it is all of the name; None where a module makes its
    names as it is asked.

    Raises:
        SignatureError: The module or the name in it does not exist.
    """
    parts = target.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        module = _read_module(".".join(parts[:cut]))
        if module is not None:
            break
    else:
        raise SignatureError(f"{target}: there is no module {parts[0] if len(parts) == 1 else '.'.join(parts[:-1])}")
    if cut < len(parts) - 2:
        raise SignatureError(f"{target}: there is no module {'.'.join(parts[:-1])}")
    found = _find(module, parts[cut])
    if found is None:
        if _is_dynamic(module):
            return None
        raise SignatureError(f"{target}: {module.name} has no {parts[cut]}")
    return *found, cut == len(parts) - 1


@cache
def _read_module(name: str) -> _Module | None:
    top, *rest = name.split(".")
    spec = find_spec(top)
    if spec is None:
        return None
    if not rest:
        path = Path(spec.origin) if spec.origin else None
        is_package = spec.submodule_search_locations is not None
        return _parse(name, path, is_package)
    for location in spec.submodule_search_locations or []:
        base = Path(location).joinpath(*rest)
        for path, is_package in ((base / "__init__.py", True), (base.with_name(base.name + ".py"), False)):
            if path.is_file():
                return _parse(name, path, is_package)
    return None


def _parse(name: str, path: Path | None, is_package: bool) -> _Module | None:
    if path is None or path.suffix != ".py":
        return _Module(name, is_package, ast.parse("def __getattr__(name): ..."))
    return _Module(name, is_package, ast.parse(path.read_text(encoding="utf-8")))


def _is_dynamic(module: _Module) -> bool:
    return any(isinstance(node, ast.FunctionDef) and node.name == "__getattr__" for node in module.statements())


@cache
def _find(module: _Module, name: str, depth: int = 0) -> _Found | None:
    """The statement that defines a name, followed through ``from … import``."""
    stars: list[_Module] = []
    result: _Found | None = None
    for node in module.statements():
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            return module, node
        targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
        if any(isinstance(item, ast.Name) and item.id == name for item in targets):
            result = result or (module, node)
        if isinstance(node, ast.ImportFrom) and depth < 12:
            source = _import_source(module, node)
            for alias in node.names:
                if (alias.asname or alias.name) == name and (other := _read_module(source)) is not None:
                    result = result or _find(other, alias.name, depth + 1)
                if alias.name == "*" and (other := _read_module(source)) is not None:
                    stars.append(other)
    return result or next((hit for other in stars if (hit := _find(other, name, depth + 1))), None)


def _import_source(module: _Module, node: ast.ImportFrom) -> str:
    if node.level == 0:
        return node.module or ""
    base = module.name.split(".")
    base = base[: len(base) - node.level + (1 if module.is_package else 0)]
    return ".".join([*base, *([node.module] if node.module else [])])


def _class_signature(target: str, module: _Module, node: ast.ClassDef) -> Signature | None:
    """The constructor of a class or of its first base that has one; None when a base cannot be read."""
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return _function_signature(target, module, item, skip_first=True)
    bases = [_resolve_base(module, base) for base in node.bases]
    if _has_decorator(node, "dataclass") or any(base == "NamedTuple" for base in bases):
        parameters: dict[str, Parameter] = {}
        for base in bases:
            if not isinstance(base, str):
                inherited = _class_signature(target, *base)
                parameters.update(inherited.parameters if inherited else {})
        return Signature(target, parameters | _fields(module, node))
    for base in bases:
        if base in ("object", "Protocol", "Generic", "ABC"):
            continue
        if isinstance(base, str):
            return None
        if (signature := _class_signature(target, *base)) is None or signature.parameters or signature.accepts_any:
            return signature
    return Signature(target)


def _resolve_base(module: _Module, base: ast.expr) -> tuple[_Module, ast.ClassDef] | str:
    name = base.value if isinstance(base, ast.Subscript) else base
    if isinstance(name, ast.Attribute):
        return name.attr
    assert isinstance(name, ast.Name)
    found = _find(module, name.id)
    if found is None or not isinstance(found[1], ast.ClassDef) or found[0].name == "typing":
        return name.id
    return found[0], found[1]


def _has_decorator(node: ast.ClassDef, name: str) -> bool:
    functions = [item.func if isinstance(item, ast.Call) else item for item in node.decorator_list]
    return any(getattr(item, "id", getattr(item, "attr", None)) == name for item in functions)


def _fields(module: _Module, node: ast.ClassDef) -> dict[str, Parameter]:
    parameters = {}
    for item in node.body:
        if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name):
            continue
        if "ClassVar" in ast.unparse(item.annotation):
            continue
        required, default = item.value is None, item.value
        if isinstance(default, ast.Call) and getattr(default.func, "id", "") == "field":
            keywords = {keyword.arg: keyword.value for keyword in default.keywords}
            if isinstance(init := keywords.get("init"), ast.Constant) and init.value is False:
                continue
            required, default = not {"default", "default_factory"} & keywords.keys(), keywords.get("default", default)
        kind, runtime = _kind(module, item.annotation), _is_runtime(module, item.annotation)
        value = None if required else _literal(default)
        parameters[item.target.id] = Parameter(item.target.id, kind, required, value, runtime)
    return parameters


def _function_signature(target: str, module: _Module, node: ast.FunctionDef, skip_first: bool) -> Signature:
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    pairs = list(zip(positional, defaults, strict=True))[1 if skip_first else 0 :]
    pairs += list(zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True))
    parameters = {
        argument.arg: Parameter(
            argument.arg,
            _kind(module, argument.annotation) if argument.annotation else ANYTHING,
            required=default is None,
            default=None if default is None else _literal(default),
            runtime=argument.annotation is not None and _is_runtime(module, argument.annotation),
        )
        for argument, default in pairs
    }
    return Signature(target, parameters, accepts_any=arguments.kwarg is not None)


def _literal(node: ast.expr | None) -> Any:
    try:
        return ast.literal_eval(node) if node is not None else None
    except ValueError:
        return NOT_LITERAL


def _kind(module: _Module, node: ast.expr, depth: int = 0) -> Kind:
    """The values that an annotation allows; an annotation that is no plain type allows any."""
    if isinstance(node, ast.Constant):
        if node.value is None:
            return Kind(nullable=True)
        if isinstance(node.value, str):
            return _kind(module, ast.parse(node.value, mode="eval").body, depth)
        return ANYTHING
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _kind(module, node.left, depth) | _kind(module, node.right, depth)
    if isinstance(node, ast.Subscript):
        return _subscript_kind(module, node, depth)
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    if name in _PLAIN:
        return Kind(frozenset([_PLAIN[name]]))
    if name in _CONTAINERS:
        return Kind(frozenset([_CONTAINERS[name]]))
    if isinstance(node, ast.Name) and depth < 8 and (found := _find(module, name)) is not None:
        where, statement = found
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            return _kind(where, statement.value, depth + 1)
        if isinstance(statement, ast.ClassDef) and name not in ("Any", "object") and not _is_enum(statement):
            return Kind(component=True)
    return ANYTHING


def _is_enum(node: ast.ClassDef) -> bool:
    return any("Enum" in ast.unparse(base) for base in node.bases)


def _subscript_kind(module: _Module, node: ast.Subscript, depth: int) -> Kind:
    outer = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
    inner = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
    if outer == "Literal":
        values = tuple(_literal(item) for item in inner)
        return ANYTHING if NOT_LITERAL in values else Kind(literals=values)
    if outer in ("Optional", "Union"):
        kind = Kind(nullable=outer == "Optional")
        for item in inner:
            kind |= _kind(module, item, depth)
        return kind
    if outer == "Annotated":
        bounds = [found for item in inner[1:] if (found := _bounds(module, item)) is not None]
        return replace(_kind(module, inner[0], depth), bounds=bounds[0] if bounds else None)
    if outer in ("Final", "Runtime"):
        return _kind(module, inner[0], depth)
    return Kind(frozenset([_CONTAINERS[outer]])) if outer in _CONTAINERS else ANYTHING


def _is_runtime(module: _Module, node: ast.expr, depth: int = 0) -> bool:
    """True when an annotation is ``Runtime[T]``, also by an alias, in ``Runtime[T] | None`` and as a string."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _is_runtime(module, ast.parse(node.value, mode="eval").body, depth)
    if isinstance(node, ast.BinOp):
        return _is_runtime(module, node.left, depth) or _is_runtime(module, node.right, depth)
    if isinstance(node, ast.Subscript):
        outer = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
        inner = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
        marked = outer == "Annotated" and any(getattr(item, "id", "") == "RUNTIME" for item in inner[1:])
        wraps = outer in ("Annotated", "Optional", "Union")
        return outer == "Runtime" or marked or (wraps and any(_is_runtime(module, item, depth) for item in inner))
    if isinstance(node, ast.Name) and depth < 8 and (found := _find(module, node.id)) is not None:
        where, statement = found
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            return _is_runtime(where, statement.value, depth + 1)
    return False


def _bounds(module: _Module, node: ast.expr, depth: int = 0) -> Bounds | None:
    """The bounds that a piece of ``Annotated``'s metadata declares: a call of ``Bounds``, or a name of one."""
    if isinstance(node, ast.Name) and depth < 8 and (found := _find(module, node.id)) is not None:
        where, statement = found
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            return _bounds(where, statement.value, depth + 1)
        return None
    if not isinstance(node, ast.Call) or ast.unparse(node.func).rpartition(".")[2] != "Bounds":
        return None
    positional = [_number(item) for item in node.args]
    named: dict[str, Any] = {item.arg: _number(item.value) for item in node.keywords if item.arg is not None}
    return Bounds(*positional, **named)


def _number(node: ast.expr) -> Any:
    """A literal, or infinity as ``math.inf`` and ``float("inf")`` write it."""
    text = ast.unparse(node).replace("math.inf", "inf").replace("float('inf')", "inf")
    return float(text) if text in ("inf", "-inf") else ast.literal_eval(node)
