"""Modules that code imports through functions (``importlib.import_module``) instead of statements."""

from __future__ import annotations

import ast
from collections.abc import Iterator

_BY_NAME = frozenset({"import_module", "__import__"})
_BY_PLACE = frozenset({"spec_from_file_location", "SourceFileLoader", "run_path", "run_module"})


def literal_imports(tree: ast.AST, name: str, package: str) -> Iterator[str]:
    """Names of modules that calls import by a literal name.

    Args:
        tree: Source of a module.
        name: The module's dotted name.
        package: The package that its relative imports start from.

    >>> list(literal_imports(ast.parse("import_module('.rules', __package__)"), "p.labeler", "p"))
    ['p.rules']
    """
    for call in _calls(tree):
        if (imported := _literal_name(call, name, package)) is not None:
            yield imported


def computed_imports(tree: ast.AST, name: str, package: str) -> Iterator[int]:
    """Lines of calls that import a module by a name or a path which the source does not spell out."""
    for call in _calls(tree):
        if _literal_name(call, name, package) is None:
            yield call.lineno


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _function(node) in _BY_NAME | _BY_PLACE:
            yield node


def _function(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _literal_name(call: ast.Call, name: str, package: str) -> str | None:
    if _function(call) not in _BY_NAME or not call.args:
        return None
    imported = call.args[0]
    if not (isinstance(imported, ast.Constant) and isinstance(imported.value, str)):
        return None
    if not imported.value.startswith("."):
        return imported.value
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    anchor = call.args[1] if len(call.args) > 1 else keywords.get("package")
    start = {"__package__": package, "__name__": name}.get(getattr(anchor, "id", ""), getattr(anchor, "value", None))
    if not isinstance(start, str):
        return None
    level = len(imported.value) - len(imported.value.lstrip("."))
    parents = start.split(".")
    return ".".join([*parents[: len(parents) - level + 1], imported.value[level:]])
