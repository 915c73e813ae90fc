"""Runs of the installed command with the smallest settings that reach every stage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import pytest

COMMAND = Path(sys.executable).parent / "rlaif-run"
TINY = (
    "model=pocket_xs",
    "labeler=pairwise",
    "labeler.engine.model=pocket:XS",
    "labeler@evaluation.judge=pairwise",
    "label.batch_size=8",
    "sft.steps=2",
    "sft.batch_size=8",
    "reward_model.epochs=1",
    "reward_model.batch_size=8",
    "policy.steps=2",
    "policy.prompts_per_step=8",
    "policy.max_new_tokens=24",
    "evaluation.num_prompts=24",
    "evaluation.sft_temperatures=[0]",
)
"""Seconds on a quiet machine. What the models say does not matter, and no test looks at it."""
TINY_POCKET = (
    "data.num_demonstrations=32",
    "data.num_label_prompts=24",
    "data.num_policy_prompts=16",
    "data.num_eval_prompts=24",
    "data.num_tuning_prompts=8",
    "data.num_eval_preferences=24",
)


PACKAGES = Path(__file__).resolve().parents[1] / "packages"
"""Packages of other people, each with components of one kind."""


@dataclass(frozen=True)
class Run:
    """One call of the command."""

    code: int
    stdout: str
    stderr: str
    directory: Path
    """``hydra.run.dir``, or the sweep's directory."""
    store: Path

    def figures(self, *, times: bool = False) -> dict[str, Mapping[str, object]]:
        """``report.json`` by name, without what depends on a clock."""
        records = json.loads((self.directory / "report.json").read_text())
        return {record["name"]: record for record in records if times or not record["name"].startswith("time/")}

    def stored(self, stage: str) -> list[Path]:
        """Finished results of a stage in the store."""
        return sorted(path for path in self.store.glob(f"{stage}-*") if path.suffix != ".partial")

    def reused(self) -> set[str]:
        """Stages, as named on the terminal, whose results were in the store."""
        lines = [line.split("reused from store")[0] for line in self.stdout.splitlines() if "reused from store" in line]
        return {line.removeprefix("✓ ").strip() for line in lines}


@dataclass(frozen=True)
class Command:
    """Starts ``rlaif-run`` in an empty directory."""

    home: Path
    packages: Path | None = None
    """Where further packages are installed."""

    def environment(self) -> dict[str, str]:
        absent = {"RLAIF_STORE", "COLUMNS"}
        kept = {name: value for name, value in os.environ.items() if name not in absent}
        installed = {} if self.packages is None else {"PYTHONPATH": str(self.packages)}
        return {**kept, **installed, "HF_HUB_OFFLINE": "1", "PYTHONIOENCODING": "utf-8"}

    def arguments(self, directory: Path, store: Path, *overrides: str) -> list[str]:
        places = [f"hydra.run.dir={directory}", f"hydra.sweep.dir={directory}", f"store.dir={store}"]
        data = () if "data=files" in overrides else TINY_POCKET
        chosen = {override.split("=")[0] for override in overrides}
        tiny = [override for override in (*TINY, *data) if override.split("=")[0] not in chosen]
        has_no_model = {"labeler=human", "labeler=reward_model", "labeler/engine=coin"} & set(overrides)
        if has_no_model:
            tiny = [override for override in tiny if not override.startswith("labeler.engine.")]
        if {"policy=dpo", "policy=ipo"} & set(overrides):  # they sample nothing while they learn
            tiny = [line for line in tiny if not line.startswith(("policy.prompts_per_step", "policy.max_new_tokens"))]
        if "policy=best_of_n" in overrides:  # it draws for all prompts at once
            tiny = [line for line in tiny if not line.startswith("policy.prompts_per_step")]
        flags = [override for override in overrides if override.startswith("-")]
        return [str(COMMAND), *flags, *tiny, *places, *(item for item in overrides if item not in flags)]

    def run(self, name: str, *overrides: str, store: str = "store") -> Run:
        """Run to the end.

        Args:
            name: Name of the run directory.
            overrides: Replace or add to the tiny settings.
            store: Name of the store.
        """
        directory, place = self.home / name, self.home / store
        done = subprocess.run(
            self.arguments(directory, place, *overrides),
            capture_output=True,
            text=True,
            encoding="utf-8",
            cwd=self.home,
            env=self.environment(),
        )
        assert "deprecat" not in done.stderr.lower(), done.stderr
        return Run(done.returncode, done.stdout, done.stderr, directory, place)

    def start(self, name: str, *overrides: str, store: str = "store") -> subprocess.Popen[bytes]:
        """Start without waiting; both streams go to ``<name>.log``."""
        log = (self.home / f"{name}.log").open("ab")
        with log:
            return subprocess.Popen(
                self.arguments(self.home / name, self.home / store, *overrides),
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.home,
                env=self.environment(),
            )

    def finished(self, name: str, code: int, store: str = "store") -> Run:
        """What a started run left."""
        log = (self.home / f"{name}.log").read_text(encoding="utf-8")
        return Run(code, log, log, self.home / name, self.home / store)


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """The command and a home for the runs of one test file, which share a store."""
    return Command(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which pip installed every package of ``tests/packages``."""
    target = tmp_path_factory.mktemp("packages")
    isolation = ["--no-build-isolation"] if find_spec("hatchling") else []
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", *isolation, "--target", str(target)]
    subprocess.run([*command, *map(str, sorted(PACKAGES.iterdir()))], check=True, capture_output=True, text=True)
    return target


@pytest.fixture(scope="module")
def extended(command: Command, packages: Path) -> Command:
    """The command, with those packages installed."""
    return replace(command, packages=packages)
