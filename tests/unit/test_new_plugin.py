"""``rlaif-plugins new``: each kind of package passes its own test and the contract of its kind."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rlaif.cli.new_plugin.package import KINDS, write_package
from rlaif.cli.plugins import check_component
from rlaif.errors import PluginError


def make(directory: Path, kind: str) -> Path:
    """A written package and what pip leaves behind when it is installed."""
    name = f"fresh_{kind}"
    write_package(kind, name, directory)
    project = tomllib.loads((directory / name / "pyproject.toml").read_text())["project"]
    about = directory / "site" / f"{name}-{project['version']}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    ((group, names),) = project["entry-points"].items()
    lines = "".join(f"{option} = {target}\n" for option, target in names.items())
    (about / "entry_points.txt").write_text(f"[{group}]\n{lines}")
    return directory / name


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Path]]:
    directory = tmp_path_factory.mktemp("packages")
    made = [make(directory, kind) for kind in KINDS]
    with pytest.MonkeyPatch.context() as patch:
        for path in (directory / "site", *(package / "src" for package in made)):
            patch.syspath_prepend(path)
        yield made


def test_every_kind_passes_its_own_test(packages: list[Path], tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        *(str(path / "tests") for path in packages),
    ]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{2 * len(KINDS)} passed" in result.stdout


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_keeps_its_contract(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_component(f"{KINDS[kind].option}=fresh_{kind}") == 0, capsys.readouterr()


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize("kind", KINDS)
def test_the_command_that_is_told_for_a_kind_finds_nothing_wrong(
    find_problems: Callable[..., list[str]], kind: str, tmp_path: Path
) -> None:
    rows = [json.dumps({"prompt": f"Q{n}", "chosen": "Yes.", "rejected": f"No {n}."}) for n in range(200)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(rows))
    told = KINDS[kind].run.replace("@NAME@", f"fresh_{kind}").replace("PAIRS.jsonl", str(tmp_path / "pairs.jsonl"))
    assert find_problems(*shlex.split(told)[1:]) == []


def test_written_code_is_formatted(packages: list[Path]) -> None:
    ruff = pytest.importorskip("ruff.__main__").find_ruff_bin()
    if Path(ruff).read_bytes()[:2] == b"#!":
        pytest.skip("ruff is a script here, not its binary")
    for package in packages:  # as its author does: from the package's own folder
        result = subprocess.run(
            [ruff, "check", "--isolated", "--line-length=120", "--select=E,F,I,UP"],
            capture_output=True,
            text=True,
            cwd=package,
        )
        assert result.returncode == 0, result.stdout


def test_a_folder_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(PluginError, match="exists already"):
        write_package("labeler", "mine", tmp_path)
    assert list((tmp_path / "mine").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("My-Labeler", "small letters"),
        ("yield", "no word of Python"),
        ("json", "installed already"),
        ("pairwise", "labeler=pairwise is there already"),
    ],
)
def test_a_name_that_cannot_be_a_module_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(PluginError, match=reason):
        write_package("labeler", name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_name_of_a_preset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="labeler/engine=vllm is there already"):
        write_package("engine", "vllm", tmp_path)
