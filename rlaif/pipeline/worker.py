"""One of the processes that share a step: it finds the step in the same configuration, and builds it."""

from __future__ import annotations

import argparse
import atexit
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from rlaif.artifacts import atomic_write
from rlaif.errors import GateStopped, RlaifError
from rlaif.interruption import exit_code, raise_on_sigterm
from rlaif.pipeline.workers import POLL_S, PROGRESS, STOPPED
from rlaif.reporting.terminal import Progress, RunDisplay, StageDisplay


class _ToldProgress(Progress):
    """Progress that is written to a file instead of being shown."""

    def __init__(self, file: Path, total: int | None, unit: str, completed: int) -> None:
        super().__init__(total, unit, completed, time.monotonic, None)
        self.file = file
        self.told_at = -POLL_S

    def __call__(self, completed: int, total: int | None = None) -> None:
        super().__call__(completed, total)
        self._tell()

    def advance(self, count: int = 1) -> None:
        super().advance(count)
        self._tell()

    def _tell(self) -> None:
        if time.monotonic() - self.told_at < POLL_S and self.completed != self.total:
            return
        self.told_at = time.monotonic()
        unfinished = self.file.with_name(f".{self.file.name}.tmp")
        unfinished.write_text(json.dumps({"completed": self.completed, "total": self.total, "unit": self.unit}))
        unfinished.replace(self.file)


class _WorkerDisplay(StageDisplay):
    """Shows nothing; the first worker sends its progress to the process that started it."""

    def __init__(self, stage: str, directory: Path) -> None:
        super().__init__(stage, Console(quiet=True), live=False, clock=time.monotonic)
        self.file = directory / PROGRESS

    def progress(self, total: int | None, *, unit: str = "", completed: int = 0) -> Progress:
        if os.environ.get("RANK", "0") != "0":
            return super().progress(total, unit=unit, completed=completed)
        return _ToldProgress(self.file, total, unit, completed)


def _end_with(parent: int) -> None:
    """End this process when the run that started it is gone: a killed run must not go on writing here."""

    def watch() -> None:
        while True:
            try:
                os.kill(parent, 0)
            except ProcessLookupError:
                os._exit(1)
            time.sleep(POLL_S)

    threading.Thread(target=watch, daemon=True).start()


def _build_step(cfg: DictConfig, name: str, directory: Path, display: StageDisplay) -> None:
    """Build one step, or this process's part of it."""
    from rlaif.modules.notices import quiet_lightning
    from rlaif.pipeline.plan import Plan  # torch and Lightning, behind the watch on the parent
    from rlaif.pipeline.run import load_early, make_deterministic

    quiet_lightning()
    make_deterministic()
    plan = Plan(cfg, directory)
    load_early(plan, RunDisplay(Console(quiet=True)))
    step = plan.step(name)
    plan.stage_to_build(step).build(plan.work(step, directory, display))


def leave(code: int) -> NoReturn:
    """End this process once all that was registered for its end has run, without tearing the interpreter down.

    Torch's own threads may still wait for the interpreter, and then abort a worker that has done all its work
    ("terminate called without an active exception").
    """
    atexit._run_exitfuncs()  # Lightning ends the process group here, a logger its run
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main() -> int:
    """Entry point of a worker process."""
    parser = argparse.ArgumentParser()
    for name in ("config", "step", "directory"):
        parser.add_argument(f"--{name}", required=True, type=str)
    parser.add_argument("--parent", required=True, type=int)
    arguments = parser.parse_args()
    _end_with(arguments.parent)
    raise_on_sigterm()
    cfg = OmegaConf.load(arguments.config)
    assert isinstance(cfg, DictConfig)
    directory = Path(arguments.directory)
    try:
        _build_step(cfg, arguments.step, directory, _WorkerDisplay(arguments.step, directory))
    except GateStopped as stopped:
        atomic_write(directory / STOPPED, str(stopped))
        return stopped.exit_code
    except KeyboardInterrupt as interrupted:
        return exit_code(interrupted)
    except RlaifError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    leave(main())
