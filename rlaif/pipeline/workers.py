"""Training and labeling on several devices: the stage runs in torchrun's processes, everything else stays in this one.

Lightning's own launcher would start the whole command again for each device, and with it pay every label
once per device. A worker reads the same configuration, finds the same finished stages in the store, and
fills the directory that the parent process holds the lock of.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from rlaif.errors import ConfigError, GateStopped
from rlaif.pipeline.devices import num_devices, num_machines
from rlaif.reporting.terminal import Progress, StageDisplay

CONFIG, PROGRESS, STOPPED = "worker.yaml", "worker-progress.json", "worker-stopped.txt"
"""Files through which the processes communicate in the step's directory; removed when the step is done."""
POLL_S = 0.5


def is_worker() -> bool:
    """True in a process that torchrun started."""
    return "LOCAL_RANK" in os.environ


def build_in_workers(cfg: DictConfig, step: str, directory: Path, display: StageDisplay) -> None:
    """Run one step in as many processes as there are devices.

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
    config.write_text(OmegaConf.to_yaml(cfg, resolve=True), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={num_devices(cfg)}",
        "-m",
        "rlaif.pipeline.worker",
        f"--config={config}",
        f"--step={step}",
        f"--directory={directory}",
        f"--parent={os.getpid()}",
    ]
    (directory / STOPPED).unlink(missing_ok=True)
    process = subprocess.Popen(command, start_new_session=True)  # Ctrl-C reaches the workers through this process only
    bar: Progress | None = None
    try:
        while process.poll() is None:
            time.sleep(POLL_S)
            bar = _show_progress(directory / PROGRESS, display, bar)
    except KeyboardInterrupt:
        process.terminate()  # torchrun passes it on: each worker ends its optimizer step and saves
        process.wait()
        raise
    told = directory / STOPPED
    stopped_because = told.read_text(encoding="utf-8") if told.exists() else None
    for file in (config, directory / PROGRESS, told):
        file.unlink(missing_ok=True)
    if stopped_because is not None:
        raise GateStopped(stopped_because)
    if process.returncode:
        raise ConfigError(
            f"trainer.devices={cfg.trainer.devices}: step {step} failed in a worker process (its message is"
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
