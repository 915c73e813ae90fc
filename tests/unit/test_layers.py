"""Imports run downwards only (docs/pages/architecture.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import rlaif
from rlaif import registry
from rlaif.artifacts.fingerprints import _imports, _WithoutText
from rlaif.pipeline.stage import KINDS

LAYERS = (
    "errors interruption naming outcome types roles runtime near_miss ranges reasons",
    "functional registry kinds conf_files",
    "signatures bounds",
    "artifacts",
    "metrics inference tasks chat_format",
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


def test_stages_are_imported_by_nobody() -> None:
    """Stages are found through their entry points, as those of plugins are."""
    users = {
        path.relative_to(ROOT).as_posix()
        for path in FILES
        if path.parent != ROOT / "stages" and any(name.startswith("rlaif.stages") for name in imported_modules(path))
    }
    assert users == set()


STAGES = {component.name for component in registry.components("rlaif.stages")}
MACHINE = sorted((ROOT / "pipeline").glob("*.py"))


@pytest.mark.parametrize("path", MACHINE, ids=lambda path: path.name)
def test_the_machine_names_no_stage(path: Path) -> None:
    """Some kinds of results are named as the stages that leave them: those may stand there, but nothing may be compared
    with them."""
    tree = _WithoutText().visit(ast.parse(path.read_text(encoding="utf-8")))
    written = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert written & (STAGES - set(KINDS)) == set()
    compared = {
        node.value
        for choice in ast.walk(tree)
        if isinstance(choice, ast.Compare | ast.MatchValue)
        for node in ast.walk(choice)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert compared & STAGES == set()


def test_modules_are_imported_by_a_computed_name_in_the_registry_and_the_commands_only() -> None:
    """A digest of code cannot see such an import."""

    def computes(path: Path) -> bool:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = [getattr(node, "attr", getattr(node, "id", "")) for node in ast.walk(tree)]
        names += [alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names]
        return not {"import_module", "__import__"}.isdisjoint(names)

    users = {path.relative_to(ROOT).as_posix() for path in FILES if computes(path)}
    assert users == {"registry.py", "cli/plugin_checks.py"}


def imported_files() -> dict[str, set[str]]:
    """Module to the modules of the package that it imports, in functions too; what only a type checker reads is out."""
    names = {path.relative_to(ROOT.parent).with_suffix("").as_posix().replace("/", "."): path for path in FILES}
    names = {name.removesuffix(".__init__"): path for name, path in names.items()}
    trees = {name: _WithoutText().visit(ast.parse(path.read_text(encoding="utf-8"))) for name, path in names.items()}
    return {name: set(_imports(tree, name)) & (names.keys() - {name}) for name, tree in trees.items()}


def test_no_files_import_each_other_in_a_circle() -> None:
    """Files that import nothing but what was taken away already are taken away; a circle is what stays."""
    waiting = imported_files()
    while done := {name for name, imported in waiting.items() if not imported & waiting.keys()}:
        waiting = {name: imported for name, imported in waiting.items() if name not in done}
    while free := {name for name in waiting if not any(name in imported for imported in waiting.values())}:
        waiting = {name: imported for name, imported in waiting.items() if name not in free}
    assert sorted(waiting) == []
