"""The number of processes of the config group ``trainer``."""

from __future__ import annotations

from omegaconf import DictConfig, ListConfig


def num_processes(cfg: DictConfig) -> int:
    """Devices of all machines together."""
    return num_devices(cfg) * num_machines(cfg)


def num_devices(cfg: DictConfig) -> int:
    """Devices per machine that the group ``trainer`` asks for."""
    devices = cfg.trainer.get("devices", 1)
    if isinstance(devices, ListConfig):
        return len(devices)
    if devices in ("auto", -1, "-1"):
        import torch  # asked only where the answer depends on the machine

        return max(torch.cuda.device_count(), 1) if cfg.trainer.get("accelerator", "auto") != "cpu" else 1
    return int(devices)


def num_machines(cfg: DictConfig) -> int:
    """Machines that the group ``trainer`` asks for."""
    return int(cfg.trainer.get("num_nodes", 1))
