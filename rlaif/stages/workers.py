"""Training on several devices: the stage runs in torchrun's processes, everything else stays in this one.

Lightning's own launcher would start the whole command again for each device, and with it pay every label
once per device. A worker reads the same configuration, finds the same finished stages in the store, and
fills the directory that the parent process holds the lock of.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from rlaif.errors import ConfigError, RlaifError
from rlaif.evaluation.terminal import RunDisplay, StageDisplay


def num_devices(cfg: DictConfig) -> int:
    """Devices per machine that the group ``trainer`` asks for."""
    devices = cfg.trainer.devices
    if devices in ("auto", -1, "-1"):
        import torch

        return max(torch.cuda.device_count(), 1) if cfg.trainer.accelerator != "cpu" else 1
    return int(devices)


def needs_workers(cfg: DictConfig) -> bool:
    """True when training takes more than one process and we are not one of them already."""
    return num_devices(cfg) * int(cfg.trainer.get("num_nodes", 1)) > 1 and "LOCAL_RANK" not in os.environ


def build_in_workers(cfg: DictConfig, stage: str, directory: Path, display: StageDisplay) -> None:
    """Run one stage in as many processes as there are devices.

    Raises:
        ConfigError: Several machines are asked for, or a worker failed.
    """
    if int(cfg.trainer.get("num_nodes", 1)) > 1:
        raise ConfigError(
            f"trainer.num_nodes={cfg.trainer.num_nodes}: start the command once per machine under torchrun or srun"
        )
    config = directory / "worker.yaml"
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
    ]
    finished = subprocess.run(command, check=False)
    config.unlink(missing_ok=True)
    if finished.returncode:
        raise ConfigError(
            f"trainer.devices={cfg.trainer.devices}: stage {stage} failed in a worker process (its message stands"
            " above); starting the command again goes on from the last checkpoint"
        )


def main() -> int:
    """Entry point of a worker process."""
    parser = argparse.ArgumentParser()
    for name in ("config", "stage", "directory"):
        parser.add_argument(f"--{name}", required=True, type=str)
    arguments = parser.parse_args()
    from rlaif.stages.context import Context
    from rlaif.stages.run import STAGES

    cfg = OmegaConf.load(arguments.config)
    assert isinstance(cfg, DictConfig)
    quiet = os.environ.get("RANK", "0") != "0"
    display = RunDisplay(Console(quiet=quiet))
    try:
        with display.stage(arguments.stage) as line:
            STAGES[arguments.stage].build(Context(cfg, STAGES), Path(arguments.directory), line)
    except RlaifError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
