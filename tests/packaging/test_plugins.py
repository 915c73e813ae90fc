"""The packages under plugins/ as a user meets them: pip-installed, listed, composed, checked."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = Path(sys.executable).parent

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the packages and a newly written one, installed by pip."""
    target, written = tmp_path_factory.mktemp("plugins"), tmp_path_factory.mktemp("written")
    subprocess.run([SCRIPTS / "rlaif-plugins", "new", "labeler", "my_labeler"], check=True, cwd=written)
    isolation = ["--no-build-isolation"] if find_spec("hatchling") else []
    for source in (*sorted((REPOSITORY / "plugins").iterdir()), written / "my_labeler"):
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", *isolation, "--target", target, source]
        subprocess.run(command, check=True, capture_output=True, text=True)
    return target


def run(installed: Path, cwd: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run([SCRIPTS / script, *arguments], capture_output=True, text=True, env=environment, cwd=cwd)


def composed(installed: Path, cwd: Path, *overrides: str) -> dict[str, object]:
    result = run(installed, cwd, "rlaif-run", "--cfg", "job", *overrides)
    assert result.returncode == 0, result.stderr
    loaded = yaml.safe_load(result.stdout)
    assert isinstance(loaded, dict)
    return loaded


def test_a_labeler_without_yaml_gets_its_options_from_its_signature(installed: Path, tmp_path: Path) -> None:
    config = composed(installed, tmp_path, "labeler=length", "labeler.prefer=shorter")
    assert config["labeler"] == {
        "_target_": "rlaif_length.LengthLabeler",
        "prefer": "shorter",
        "soft": False,
        "prompt": None,
        "engine": None,
    }


def test_a_prompt_strategy_brings_its_own_yaml(installed: Path, tmp_path: Path) -> None:
    labeler = composed(installed, tmp_path, "labeler=pairwise", "labeler/prompt=terse")["labeler"]
    assert isinstance(labeler, dict)
    assert labeler["prompt"] == {"_target_": "rlaif_terse_prompt.TersePrompts", "ask": "Better"}


def test_wrong_options_of_a_plugin_are_reported(installed: Path, tmp_path: Path) -> None:
    result = run(installed, tmp_path, "rlaif-run", "labeler=length", "labeler.prefer=shortr", "labeler.soft=1")
    assert result.returncode == 2
    assert "labeler.prefer=shortr: must be one of longer, shorter; did you mean shorter?" in result.stderr
    assert "labeler.soft=1: must be true or false" in result.stderr
    near = run(installed, tmp_path, "rlaif-run", "labeler=lenght")
    assert "did you mean labeler=length?" in near.stderr


def test_list_shows_every_component_with_its_package(installed: Path, tmp_path: Path) -> None:
    result = run(installed, tmp_path, "rlaif-plugins", "list")
    assert result.returncode == 0, result.stdout
    row = next(line for line in result.stdout.splitlines() if " length " in line)
    assert "rlaif-length" in row and "0.1.0" in row and "ok" in row
    assert "cot_pairwise" in result.stdout and "terse" in result.stdout


@pytest.mark.parametrize(
    "options",
    [
        ["length"],
        ["length", "labeler.soft=true"],
        ["my_labeler"],
        ["criterion", "labeler/engine=scripted"],
    ],
)
def test_plugin_labelers_keep_the_contract(installed: Path, tmp_path: Path, options: list[str]) -> None:
    result = run(installed, tmp_path, "rlaif-plugins", "check", *options)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "swap symmetry" in result.stdout and "failed" not in result.stdout


@pytest.mark.parametrize(
    "name", ["labeler/prompt=terse", "reward=length_penalty", "task=dialogue", "policy/objective=rloo"]
)
def test_check_covers_every_group(installed: Path, tmp_path: Path, name: str) -> None:
    result = run(installed, tmp_path, "rlaif-plugins", "check", name)
    assert result.returncode == 0, result.stdout + result.stderr


def test_check_of_an_unknown_labeler_names_the_near_miss(installed: Path, tmp_path: Path) -> None:
    result = run(installed, tmp_path, "rlaif-plugins", "check", "lenght")
    assert result.returncode == 2
    assert "did you mean length?" in result.stderr and "Traceback" not in result.stderr


def test_a_broken_plugin_does_not_stop_other_runs(installed: Path, tmp_path: Path) -> None:
    broken = tmp_path / "site" / "bad_plugin-1.0.dist-info"
    broken.mkdir(parents=True)
    (broken / "METADATA").write_text("Metadata-Version: 2.1\nName: bad-plugin\nVersion: 1.0\n")
    (broken / "entry_points.txt").write_text("[rlaif.labelers]\nbad = bad_plugin:Bad\n")
    both = Path(os.pathsep.join([str(installed), str(broken.parent)]))
    assert run(both, tmp_path, "rlaif-run", "--cfg", "job", "labeler=length").returncode == 0
    chosen = run(both, tmp_path, "rlaif-run", "labeler=bad")
    assert chosen.returncode == 2
    assert "labeler=bad: bad-plugin 1.0 is broken" in chosen.stderr
    listed = run(both, tmp_path, "rlaif-plugins", "list")
    assert listed.returncode == 1
    assert "broken" in listed.stdout and "length" in listed.stdout


def test_two_packages_with_one_name_are_both_named(installed: Path, tmp_path: Path) -> None:
    twin = tmp_path / "site" / "twin-2.0.dist-info"
    twin.mkdir(parents=True)
    (twin / "METADATA").write_text("Metadata-Version: 2.1\nName: twin\nVersion: 2.0\n")
    (twin / "entry_points.txt").write_text("[rlaif.labelers]\nlength = rlaif_length:LengthLabeler\n")
    both = Path(os.pathsep.join([str(installed), str(twin.parent)]))
    result = run(both, tmp_path, "rlaif-run", "labeler=length")
    assert result.returncode == 2
    assert "labeler=length: claimed by rlaif-length 0.1.0" in result.stderr and "twin 2.0" in result.stderr
