"""The devices and processes of the config group ``trainer``."""

from __future__ import annotations

from collections.abc import Iterator

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


def machine_problems(cfg: DictConfig) -> Iterator[str]:
    """Devices that the group ``trainer`` asks for and this machine does not have."""
    import torch  # asked only where a step trains
    from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator, XLAAccelerator

    name = cfg.trainer.get("accelerator", "auto")
    has_cuda, has_mps = CUDAAccelerator.is_available(), MPSAccelerator.is_available()
    has = {"cuda": has_cuda, "mps": has_mps, "gpu": has_cuda or has_mps, "tpu": XLAAccelerator.is_available()}
    if not has.get(name, True):
        yield f"trainer.accelerator={name}: this machine has none that torch can use; type trainer=cpu"
        return
    devices, found = cfg.trainer.get("devices", 1), torch.cuda.device_count()
    if name == "cpu" or not found or devices in ("auto", -1, "-1"):
        return
    needed = max(devices) + 1 if isinstance(devices, ListConfig) else int(devices)
    if needed > found:
        typed, gpus = str(devices).replace(" ", ""), "1 GPU" if found == 1 else f"{found} GPUs"
        yield f"trainer.devices={typed}: this machine has {gpus}; type trainer.devices={found}"
