"""Public modules, classes, functions and methods have docstrings, which cite no file that readers do not have."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import rlaif

ROOT = Path(rlaif.__file__ or "").parent
FILES = sorted(ROOT.rglob("*.py"))
LEAST = 0.95
NOT_SHIPPED = re.compile(r"\b(PAPERS|DESIGN|FOUND|STYLE|ARCHITECTURE)\b")
"""Names of notes that are no part of the repository."""


def public_definitions(path: Path) -> Iterator[tuple[str, str | None]]:
    """Name and docstring of the module, and of everything public in it; names with an underscore are private."""
    module = ast.parse(path.read_text(encoding="utf-8"))
    name = path.relative_to(ROOT).as_posix()
    yield name, ast.get_docstring(module)
    yield from _inside(module, name)


def _inside(node: ast.Module | ast.ClassDef, name: str) -> Iterator[tuple[str, str | None]]:
    for child in node.body:
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not child.name.startswith("_"):
            yield f"{name}:{child.name}", ast.get_docstring(child)
            if isinstance(child, ast.ClassDef):
                yield from _inside(child, f"{name}:{child.name}")


def test_public_docstrings_are_there() -> None:
    every = [item for path in FILES for item in public_definitions(path)]
    missing = [name for name, docstring in every if not docstring]
    assert len(every) > 1000
    assert 1 - len(missing) / len(every) >= LEAST, missing


def test_none_is_missing_in_the_maths() -> None:
    every = [item for path in (ROOT / "functional").glob("*.py") for item in public_definitions(path)]
    assert [name for name, docstring in every if not docstring] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_docstrings_cite_what_readers_have(path: Path) -> None:
    assert NOT_SHIPPED.findall(path.read_text(encoding="utf-8")) == []
