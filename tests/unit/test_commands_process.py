"""What every command does with its process: how threads wait, and a reader who closes the pipe."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlaif.cli import threads

COMMANDS = ("run", "plugins", "labels", "runs", "bandit")
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
def test_the_policy_is_set_before_torch_is_loaded_and_children_inherit_it(command: str) -> None:
    loaded, _, policy = last_line(command).partition(" ")
    assert loaded == "False", "torch must be loaded after the variable is set"
    assert policy == "['PASSIVE', None]" or (command == "run" and policy == "[None, None]")


@pytest.mark.parametrize(
    ("spent", "policy"),
    [
        ([0, 0, 0, 20, 0, 0, 0, 0], None),  # both of two cores idle
        ([0, 0, 0, 15, 5, 0, 0, 0], None),  # waiting for a disk is idle
        ([1, 0, 2, 17, 0, 0, 0, 0], None),  # 0.3 cores in use
        ([6, 0, 0, 14, 0, 0, 0, 0], "PASSIVE"),
        ([0, 10, 0, 10, 0, 0, 0, 0], "PASSIVE"),  # a process with low priority
        ([0, 0, 0, 14, 0, 0, 0, 6], "PASSIVE"),  # stolen by other machines of the host
    ],
)
def test_threads_sleep_while_they_wait_where_others_use_the_cores(
    spent: list[int], policy: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    start = [1000, 20, 300, 4000, 50, 6, 7, 8]
    end = [then + ticks for then, ticks in zip(start, spent, strict=True)]
    stat = tmp_path / "stat"

    def show(times: list[int]) -> None:
        stat.write_text("cpu  " + " ".join(map(str, times)) + " 0 0\ncpu0 1 1 1 1\n")

    show(start)
    monkeypatch.setattr(threads, "CPU_TIMES", stat)
    monkeypatch.setattr("time.sleep", lambda seconds: show(end))
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert chosen(monkeypatch, []) == policy
    show(start)
    assert chosen(monkeypatch, ["-m", "hydra/launcher=joblib"]) == "PASSIVE"
    monkeypatch.setattr(threads, "CPU_TIMES", tmp_path / "absent")
    assert chosen(monkeypatch, []) == "PASSIVE"


def chosen(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> str | None:
    with monkeypatch.context() as patched:
        for name in threads.OWN_SETTINGS:
            patched.delenv(name, raising=False)
        threads.choose_waiting(words)
        policy = os.environ.pop(threads.WAIT_POLICY, None)
    return policy


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


def test_the_traceback_of_an_unexpected_error_stands_in_the_runs_log(tmp_path: Path) -> None:
    broken = (
        "import sys, types\n"
        "broken = types.ModuleType('rlaif.pipeline.run')\n"
        "def run(cfg): raise KeyError('planted at http://me:secret@host')\n"
        "broken.run = run\n"
        "sys.modules['rlaif.pipeline.run'] = broken\n"
        "from rlaif.cli.run import main\n"
        "sys.argv[1:] = ['hydra.run.dir=here', 'store.dir=store']\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", broken], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1 and "unexpected error; log and config are in" in done.stderr
    (log,) = (tmp_path / "here").glob("*.log")
    text = log.read_text("utf-8")
    assert text.count("Traceback") == 1 and "KeyError: 'planted at" in text and "secret" not in text


def test_one_of_several_processes_of_torchrun_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rlaif.cli.run", "trainer=ddp", "trainer.devices=2"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "LOCAL_RANK": "0", "RANK": "0", "WORLD_SIZE": "2"},
        timeout=60,
    )
    assert done.returncode == 2 and "start it once: with trainer=ddp trainer.devices=2" in done.stderr
    assert not any(tmp_path.iterdir())


def test_the_log_of_a_run_is_utf8_in_every_locale(tmp_path: Path) -> None:
    planted = (
        "import logging, sys, types\n"
        "planted = types.ModuleType('rlaif.pipeline.run')\n"
        "planted.run = lambda cfg: logging.getLogger('rlaif').info('left out: 3 \\u00d7 equal responses')\n"
        "sys.modules['rlaif.pipeline.run'] = planted\n"
        "from rlaif.cli.run import main\n"
        "sys.argv[1:] = ['hydra.run.dir=here', 'store.dir=store']\n"
        "main()\n"
    )
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", planted], capture_output=True, text=True, cwd=tmp_path, env={**os.environ, **locale}
    )
    assert done.returncode == 0 and "Logging error" not in done.stderr, done.stderr
    assert "3 × equal responses" in (tmp_path / "here" / "rlaif.log").read_text("utf-8")
