"""Mutants of a package's modules: one-place edits by cosmic-ray's operators, those that change nothing left out."""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator
from dataclasses import dataclass
from inspect import CO_OPTIMIZED
from pathlib import Path
from types import CodeType

import cosmic_ray.plugins
from cosmic_ray.ast import ast_nodes, get_ast_from_path
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator


@dataclass(frozen=True, slots=True)
class Mutant:
    """A module's source with one place changed."""

    path: Path
    """The module, from the repository's root."""
    operator: str
    """Name of cosmic-ray's operator."""
    occurrence: int
    """Which of the operator's places in the module."""
    line: int
    """Line of the change."""
    lines: range
    """Lines of the statement that holds the change; of a compound statement, those of its head."""
    source: str
    """The changed module."""
    in_functions: bool
    """True where the change lies within functions' bodies, so that a living function can take it."""

    @property
    def module(self) -> str:
        """The dotted name of the module."""
        parts = self.path.with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def edit(self) -> tuple[str, str]:
        """The first line that differs, before and after."""
        pairs = zip(self.path.read_text().splitlines(), self.source.splitlines(), strict=False)
        return next(((old.strip(), new.strip()) for old, new in pairs if old != new), ("", ""))


def sampled_mutants(paths: list[Path], count: int, seed: int) -> list[Mutant]:
    """A random sample of the mutants of some modules, every mutant equally likely, in the order of the modules.

    Left out are edits that cannot change what runs: those of annotations (they are never evaluated here), and those
    that compile to the same code.
    """
    places = [place for path in sorted(paths) for place in _places(path)]
    random.Random(seed).shuffle(places)
    mutants: list[Mutant] = []
    for path, name, operator, occurrence, line in places:
        if len(mutants) == count:
            break
        if mutant := _mutant(path, name, operator, occurrence, line):
            mutants.append(mutant)
    return sorted(mutants, key=lambda mutant: (mutant.path, mutant.line, mutant.operator, mutant.occurrence))


def _places(path: Path) -> Iterator[tuple[Path, str, Operator, int, int]]:
    nodes = list(ast_nodes(get_ast_from_path(path)))
    for name in sorted(cosmic_ray.plugins.operator_names()):
        operator_class = cosmic_ray.plugins.get_operator(name)
        # An operator with arguments names variables to replace: none is asked for.
        if operator_class.arguments() or name == "core/NoOp":
            continue
        operator = operator_class()
        starts = (start for node in nodes for start, _ in operator.mutation_positions(node))
        yield from ((path, name, operator, occurrence, start[0]) for occurrence, start in enumerate(starts))


def _mutant(path: Path, name: str, operator: Operator, occurrence: int, line: int) -> Mutant | None:
    before = path.read_text()
    after = mutate_code(before, operator, occurrence)
    if after is None:
        return None
    try:
        old, new = (compile(_without_annotations(source), str(path), "exec") for source in (before, after))
    except SyntaxError:
        return None
    if _runs(old) == _runs(new):
        return None
    in_functions = _runs(old, with_functions=False) == _runs(new, with_functions=False)
    return Mutant(path, name, occurrence, line, _statement(before, line), after, in_functions)


def _without_annotations(source: str) -> ast.Module:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.AnnAssign):
            # Dataclasses read that there is an annotation.
            node.annotation = ast.copy_location(ast.Constant("annotation"), node.annotation)
    return tree


def _runs(code: CodeType, with_functions: bool = True) -> tuple[object, ...]:
    """What a module's code does, wherever it stands in the file; without functions, what its import does."""
    consts: list[object] = []
    for const in code.co_consts:
        if not isinstance(const, CodeType):
            consts.append((type(const), const))
        elif with_functions or not const.co_flags & CO_OPTIMIZED:
            consts.append(_runs(const, with_functions))
        else:
            consts.append(const.co_qualname)
    return (code.co_name, code.co_code, tuple(consts), code.co_names, code.co_varnames, code.co_freevars)


def _statement(source: str, line: int) -> range:
    found: ast.stmt | None = None
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or node.lineno):
            found = node if found is None or node.lineno >= found.lineno else found
    if found is None:
        return range(line, line + 1)
    body = getattr(found, "body", None)
    end = body[0].lineno - 1 if isinstance(body, list) and body else (found.end_lineno or found.lineno)
    return range(found.lineno, max(end, line) + 1)
