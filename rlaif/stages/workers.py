"""Training and labeling on several devices: the stage runs in torchrun's processes, everything else stays in this one.

Lightning's own launcher would start the whole command again for each device, and with it pay every label
once per device. A worker reads the same configuration, finds the same finished stages in the store, and
fills the directory that the parent process holds the lock of.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from rlaif.artifacts import atomic_write
from rlaif.errors import ConfigError, GateStopped, RlaifError
from rlaif.reporting.terminal import Progress, StageDisplay
from rlaif.stages.context import Context, num_devices, num_machines

CONFIG, PROGRESS, STOPPED = "worker.yaml", "worker-progress.json", "worker-stopped.txt"
"""What the processes tell each other through the stage's directory; gone when the stage is done."""
POLL_S = 0.5


def needs_workers(cfg: DictConfig) -> bool:
    """True when a stage takes more than one process and we are not one of them already."""
    return num_devices(cfg) * num_machines(cfg) > 1 and "LOCAL_RANK" not in os.environ


def build_in_workers(cfg: DictConfig, stage: str, directory: Path, display: StageDisplay) -> None:
    """Run one stage in as many processes as there are devices.

    Raises:
        ConfigError: Several machines are asked for, or a worker failed.
        GateStopped: A worker was stopped by a gate, limit or budget; with its message.
    """
    if num_machines(cfg) > 1:
        raise ConfigError(
            f"trainer.num_nodes={cfg.trainer.num_nodes}: training on several machines is not supported yet; set"
            " trainer.num_nodes=1, or spread a sweep over machines with hydra/launcher=submitit_slurm"
        )
    config = directory / CONFIG
    config.write_text(OmegaConf.to_yaml(cfg, resolve=True))
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={num_devices(cfg)}",
        "-m",
        "rlaif.stages.workers",
        f"--config={config}",
        f"--stage={stage}",
        f"--directory={directory}",
        f"--parent={os.getpid()}",
    ]
    (directory / STOPPED).unlink(missing_ok=True)
    process = subprocess.Popen(command)
    bar: Progress | None = None
    while process.poll() is None:
        time.sleep(POLL_S)
        bar = _show_progress(directory / PROGRESS, display, bar)
    told = directory / STOPPED
    stopped_because = told.read_text(encoding="utf-8") if told.exists() else None
    for file in (config, directory / PROGRESS, told):
        file.unlink(missing_ok=True)
    if stopped_because is not None:
        raise GateStopped(stopped_because)
    if process.returncode:
        raise ConfigError(
            f"trainer.devices={cfg.trainer.devices}: stage {stage} failed in a worker process (its message stands"
            " above); starting the command again goes on from the last checkpoint"
        )


def _show_progress(file: Path, display: StageDisplay, bar: Progress | None) -> Progress | None:
    """Show what the first worker wrote last, on the bar shown so far or on a new one."""
    try:
        told = json.loads(file.read_text())
    except FileNotFoundError:
        return bar
    if bar is None or (bar.total, bar.unit) != (told["total"], told["unit"]):
        bar = display.progress(told["total"], unit=told["unit"], completed=told["completed"])
    bar(told["completed"])
    return bar


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
    """Shows nothing; the first worker tells its progress to the process that started it."""

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


def main() -> int:
    """Entry point of a worker process."""
    parser = argparse.ArgumentParser()
    for name in ("config", "stage", "directory"):
        parser.add_argument(f"--{name}", required=True, type=str)
    parser.add_argument("--parent", required=True, type=int)
    arguments = parser.parse_args()
    _end_with(arguments.parent)
    import torch
    from transformers.utils.logging import disable_progress_bar

    from rlaif.modules.trainer import quiet_lightning
    from rlaif.stages.run import STAGES

    torch.use_deterministic_algorithms(True, warn_only=True)
    quiet_lightning()
    disable_progress_bar()
    cfg = OmegaConf.load(arguments.config)
    assert isinstance(cfg, DictConfig)
    directory = Path(arguments.directory)
    try:
        display = _WorkerDisplay(arguments.stage, directory)
        STAGES[arguments.stage].build(Context(cfg, STAGES), directory, display)
    except GateStopped as stopped:
        atomic_write(directory / STOPPED, str(stopped))
        return stopped.exit_code
    except RlaifError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
