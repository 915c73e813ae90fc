"""``rlaif-plugins``: what it exits with, and how it shows a component that is broken."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rlaif.cli.plugins import check_component, list_components, main

MODULE = "rlaif_plugin_with_a_long_name.labelers_of_a_kind"


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package whose two labelers cannot be used: no such class, and an import that fails."""
    about = tmp_path / "bad_plugin-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: bad-plugin\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[rlaif.labelers]\nbad = {MODULE}:Bad\nworse = {MODULE}:Worse\n")
    package = tmp_path / MODULE.partition(".")[0]
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "labelers_of_a_kind.py").write_text("import no_such_package\n\nclass Worse:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("broken")
def test_a_broken_component_is_told_below_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert list_components() == 1
    lines = capsys.readouterr().out.splitlines()
    (row,) = [line for line in lines if f"{MODULE}:Bad" in line]
    assert "broken" in row
    assert any(
        line.startswith("labeler=bad (bad-plugin 1.0): ") and "labelers_of_a_kind has no Bad" in line for line in lines
    )
    for name in ("transformers:TransformersEngine", "pairwise:ChainOfThoughtLabeler"):
        assert any(name in line for line in lines), "targets of the others stay whole"


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("name", ["bad", "worse", "labeler=worse"])
def test_check_of_a_broken_component_exits_with_1(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_component(name) == 1
    assert "bad-plugin 1.0 is broken" in capsys.readouterr().err


def test_check_of_a_name_that_is_not_there_exits_with_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["rlaif-plugins", "check", "no_such_labeler"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2


@pytest.mark.parametrize("labeler", ["pairwise", "cot_pairwise", "scorer"])
def test_the_scripted_engine_can_be_chosen(labeler: str) -> None:
    assert check_component(labeler, ["labeler/engine=scripted"]) == 0


def test_the_scripted_engine_keeps_its_contract() -> None:
    respond = 'labeler.engine.respond={Nothing: "2", e: "1"}'
    assert check_component("labeler/engine=scripted") == 0
    assert check_component("labeler/engine=scripted", [respond]) == 0
