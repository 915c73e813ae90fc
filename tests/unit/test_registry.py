"""The registry of entry points: names, broken plugins, two packages with one name."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from rlaif import registry
from rlaif.errors import PluginError


def install(directory: Path, package: str, entry_points: str, files: dict[str, str] | None = None) -> None:
    """What pip leaves behind: a dist-info directory, and the package's files."""
    info = directory / f"{package.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
    for name, text in (files or {}).items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_own_components_are_declared_as_entry_points() -> None:
    declared = {(component.group, component.name) for component in registry.components()}
    assert ("rlaif.labelers", "cot_pairwise") in declared
    assert registry.load("rlaif.tasks", "dialogue").__name__ == "Dialogue"
    assert registry.find("rlaif.tasks", "dialogue").package == "rlaif"
    assert registry.find("rlaif.tasks", "dialogue").version == metadata.version("rlaif")


def test_unknown_name_offers_the_near_miss() -> None:
    with pytest.raises(PluginError, match="task=dialog: not installed; did you mean dialogue"):
        registry.find("rlaif.tasks", "dialog")


def test_broken_plugin_is_named_and_others_still_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "bad-plugin", "[rlaif.tasks]\nbad = bad_plugin:Bad\n", {"bad_plugin.py": "1 / 0\n"})
    monkeypatch.syspath_prepend(str(tmp_path))
    assert registry.load("rlaif.tasks", "dialogue").__name__ == "Dialogue"
    with pytest.raises(PluginError, match=r"task=bad: bad-plugin 1.0 is broken: .*ZeroDivisionError"):
        registry.load("rlaif.tasks", "bad")


def test_missing_class_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "half-plugin", "[rlaif.tasks]\nhalf = half_plugin:Half\n", {"half_plugin.py": ""})
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PluginError, match=r"half-plugin 1.0 is broken: half_plugin:Half: AttributeError"):
        registry.load("rlaif.tasks", "half")


def test_two_packages_with_one_name_are_both_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "impostor", "[rlaif.tasks]\ndialogue = impostor:Dialogue\n", {"impostor.py": ""})
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PluginError, match=r"task=dialogue: claimed by impostor 1.0 .* and rlaif "):
        registry.load("rlaif.tasks", "dialogue")
    assert registry.load("rlaif.tasks", "summarization").__name__ == "Summarization"


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys; from rlaif import registry; registry.components();"
        "print([name for name in ('torch', 'lightning', 'transformers', 'hydra') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
