"""Problems of the group ``trainer``: options of Lightning's trainer that a run would ignore, or cannot work with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from rlaif.signatures import read_signature

TRAINER = "lightning.Trainer"
USED = (
    "accelerator",
    "strategy",
    "devices",
    "num_nodes",
    "precision",
    "log_every_n_steps",
    "max_time",
    "profiler",
    "detect_anomaly",
)
"""Options of Lightning's trainer that are passed on."""
INSTEAD = {
    "max_steps": "type sft.steps, reward_model.steps or policy.steps",
    "max_epochs": "type sft.epochs, reward_model.epochs or policy.steps",
    "accumulate_grad_batches": "type sft.max_tokens_per_forward (reward_model, policy) for smaller forward passes",
    "gradient_clip_val": "type sft.max_grad_norm, reward_model.max_grad_norm or policy.max_grad_norm",
    "logger": "choose logger=csv or logger=tensorboard",
    "enable_checkpointing": "checkpoints are always made; type store.checkpoint_every_s for another interval",
}
"""What to type instead of options that the stages set themselves."""
ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps", "tpu")
PROFILERS = ("simple", "advanced", "pytorch", "xla")
DURATION = r"\d+:\d\d:\d\d:\d\d"
"""What Lightning reads as days, hours, minutes and seconds."""
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true", "ddp_find_unused_parameters_false")


def trainer_problems(cfg: DictConfig) -> list[str]:
    """Everything wrong with the group ``trainer``, one line each.

    Args:
        cfg: The composed configuration, without the ``hydra`` node.
    """
    node = OmegaConf.select(cfg, "trainer")
    if not isinstance(node, DictConfig) or node.get("_target_") != TRAINER:
        return []
    options = {str(name): value for name, value in OmegaConf.to_container(node).items()}  # type: ignore[union-attr]
    return [
        *_ignored(options),
        *_precision_problems(options),
        *_device_problems(options),
        *_number_problems(options),
        *_word_problems(options),
    ]


def _ignored(options: Mapping[str, Any]) -> Iterator[str]:
    known = read_signature(TRAINER).parameters  # another name is told with the values of constructors
    for name, value in options.items():
        if name in USED or name.startswith("_") or name not in known:
            continue
        typed = str(value).lower() if isinstance(value, bool) else value
        instead = INSTEAD.get(name, f"remove it; options that are used: {', '.join(USED)}")
        yield f"trainer.{name}={typed}: a run would not use it; {instead}"
    strategy = options.get("strategy", "auto")
    if isinstance(strategy, str) and strategy not in STRATEGIES:
        yield (
            f"trainer.strategy={strategy}: trainings are tried with {', '.join(STRATEGIES)} only; type"
            " trainer.strategy=ddp"
        )


def _precision_problems(options: Mapping[str, Any]) -> Iterator[str]:
    precision = options.get("precision", "32-true")
    if precision in ("bf16-true", "16-true", "bf16", "16"):
        yield (
            f"trainer.precision={precision}: weights of 16 bits lose most updates of a small learning rate; type"
            " trainer.precision=bf16-mixed, which computes in 16 bits and keeps float32 weights"
        )
    elif precision not in PRECISIONS:
        yield f"trainer.precision={precision}: allowed are {', '.join(PRECISIONS)}"
    elif precision == "16-mixed" and _is_cpu(options):
        yield (
            "trainer.precision=16-mixed: needs a GPU, and this training runs on the CPU; type"
            " trainer.precision=bf16-mixed or trainer.precision=32-true"
        )


def _device_problems(options: Mapping[str, Any]) -> Iterator[str]:
    devices = options.get("devices", 1)
    typed = f"trainer.devices={str(devices).replace(' ', '')}"
    if isinstance(devices, list):
        if not devices or any(type(one) is not int or one < 0 for one in devices) or len(set(devices)) < len(devices):
            yield f"{typed}: a list names each GPU once, counted from 0, as trainer.devices=[0,1]"
        elif _is_cpu(options):
            yield f"{typed}: a list names GPUs, and the CPU takes a number of processes; type trainer.devices=1"
    elif devices in ("auto", -1, "-1"):
        return
    elif type(devices) is not int or devices < 1:
        yield f"{typed}: must be a number of at least 1, a list of GPUs as [0,1], or auto"


def _number_problems(options: Mapping[str, Any]) -> Iterator[str]:
    for name in ("num_nodes", "log_every_n_steps"):
        value = options.get(name, 1)
        if type(value) is not int or value < 1:
            yield f"trainer.{name}={value}: must be a number of at least 1"


def _word_problems(options: Mapping[str, Any]) -> Iterator[str]:
    accelerator = options.get("accelerator", "auto")
    if accelerator not in ACCELERATORS:
        yield f"trainer.accelerator={accelerator}: allowed are {', '.join(ACCELERATORS)}"
    limit = options.get("max_time")
    if limit is not None and not isinstance(limit, Mapping) and not re.fullmatch(DURATION, str(limit).strip()):
        yield (
            f"trainer.max_time={limit}: must be days, hours, minutes and seconds, as +trainer.max_time=00:02:00:00 for"
            " two hours"
        )
    profiler = options.get("profiler")
    if isinstance(profiler, str) and profiler.lower() not in PROFILERS:
        yield f"trainer.profiler={profiler}: allowed are {', '.join(PROFILERS)}"


def _is_cpu(options: Mapping[str, Any]) -> bool:
    """True where the training runs on the CPU."""
    accelerator = options.get("accelerator", "auto")
    if accelerator in ("cpu", "gpu", "cuda", "tpu", "mps"):
        return bool(accelerator == "cpu")
    import torch  # asked only where the answer depends on the machine

    return not torch.cuda.is_available()
