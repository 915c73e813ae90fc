"""Imports run downwards only (docs/pages/architecture.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import rlaif

LAYERS = (
    "errors types roles near_miss",
    "functional registry runtime ranges kinds signatures bounds",
    "artifacts",
    "metrics inference tasks",
    "tokenization prompts",
    "data",
    "models pocket",
    "engines",
    "labelers rollouts",
    "labeling rewards objectives",
    "modules",
    "evaluation",
    "reporting",
    "testing",
    "config",
    "pipeline",
    "stages",
    "cli",
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names.split()}
ONLY_IN = {
    "hydra": {"cli", "config", "pipeline"},
    "omegaconf": {"cli", "config", "pipeline"},
    "lightning": {"data", "modules", "pipeline"},
}
NO_POCKET = {"labelers", "rewards", "objectives", "modules", "inference", "engines", "models"}

ROOT = Path(rlaif.__file__ or "").parent
FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def imported_modules(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write absolute imports"
            assert node.module is not None
            yield from ([f"rlaif.{alias.name}" for alias in node.names] if node.module == "rlaif" else [node.module])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_run_downwards(path: Path) -> None:
    own = path.relative_to(ROOT).parts[0].removesuffix(".py")
    for module in imported_modules(path):
        top, _, rest = module.partition(".")
        if top in ONLY_IN:
            assert own in ONLY_IN[top], f"{module} is imported in {own}"
        if top != "rlaif" or not rest or rest.startswith("__"):
            continue
        other = rest.partition(".")[0]
        assert RANK[other] <= RANK[own], f"{own} imports {module}, which stands above it"
        assert other != "pocket" or own not in NO_POCKET, f"{own} must not see the pocket world ({module})"


def test_internals_of_hydra_are_imported_in_one_file() -> None:
    private = ("hydra._", "omegaconf._")
    users = [path.name for path in FILES if any(name.startswith(private) for name in imported_modules(path))]
    assert users == ["hydra_internals.py"]
