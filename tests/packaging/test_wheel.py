"""The wheel, installed away from the checkout, holds its configs and starts from an empty directory."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    isolation = ["--no-build-isolation"] if find_spec("hatchling") else []
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", *isolation, "-w", directory, REPOSITORY]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return next(directory.glob("rlaif-*.whl"))


def test_the_wheel_holds_package_and_configs(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    shipped = {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "conf").rglob("*.yaml")}
    assert {f"rlaif/{name}" for name in shipped} <= names
    assert {"rlaif/types.py", "rlaif/cli/run.py"} <= names
    assert not [name for name in names if name.startswith(("tests/", "plugins/", "docs/"))]


def test_it_runs_from_an_environment_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    libraries = environment / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", libraries, wheel]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (libraries / "parent.pth").write_text(f"{sysconfig.get_path('purelib')}\n")  # its dependencies, not its .pth files
    empty = tmp_path / "empty"
    empty.mkdir()
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        python = environment / "bin" / "python"
        return subprocess.run([python, *arguments], capture_output=True, text=True, cwd=empty, env=variables)

    where = run("-c", "from rlaif.conf_files import conf_dir; print(conf_dir())")
    assert where.stdout.strip() == str((libraries / "rlaif" / "conf").resolve()), where.stderr
    composed = run("-m", "rlaif.cli.run", "--cfg", "job")
    assert composed.returncode == 0, composed.stderr
    assert "rlaif.tasks.base.Dialogue" in composed.stdout
    assert list(empty.iterdir()) == []
