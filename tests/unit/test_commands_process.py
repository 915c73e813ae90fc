"""What every command does with its process: how threads wait, and a reader who closes the pipe."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = ("run", "plugins", "labels", "runs")
CALL = """
import subprocess, sys
from importlib import import_module
command = import_module("rlaif.cli." + sys.argv[1])
loaded = "torch" in sys.modules
sys.argv[1:] = ["--help"]
try:
    command.main()
except SystemExit:
    pass
show = "import os; print([os.environ.get(name) for name in ('OMP_WAIT_POLICY', 'GOMP_SPINCOUNT')])"
print(loaded, subprocess.run([sys.executable, "-c", show], capture_output=True, text=True).stdout)
"""
"""Calls a command, then shows what a child of its process inherits."""


def last_line(command: str, **variables: str) -> str:
    kept = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    done = subprocess.run(
        [sys.executable, "-c", CALL, command], capture_output=True, text=True, env={**kept, **variables}, check=True
    )
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize("command", COMMANDS)
def test_threads_sleep_while_they_wait_in_the_command_and_its_children(command: str) -> None:
    assert last_line(command) == "False ['PASSIVE', None]", "torch must be loaded after the variable is set"


def test_the_users_own_policy_wins() -> None:
    assert last_line("run", OMP_WAIT_POLICY="ACTIVE") == "False ['ACTIVE', None]"
    assert last_line("run", GOMP_SPINCOUNT="100") == "False [None, '100']"


@pytest.mark.parametrize(
    "words", [["run", "--help"], ["run", "--cfg", "job"], ["plugins", "list"], ["labels", "--help"]]
)
def test_a_closed_pipe_is_no_error(words: list[str], tmp_path: Path) -> None:
    code = f"import sys; from rlaif.cli.{words[0]} import main; sys.argv[0] = 'rlaif'; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words[1:]], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()  # before anything is written, so that every write fails
    told = process.stderr.read().decode()
    process.stderr.close()
    assert (process.wait(), told) == (0, "")


def test_a_mistake_keeps_its_exit_code_when_nobody_reads(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "rlaif.cli.run", "sft.stepz=3"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=tmp_path,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait() == 2
